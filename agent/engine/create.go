package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

// CreateRequest is a wish for a volume.
type CreateRequest struct {
	Name           string
	Spec           store.Spec
	LimitBytes     int64 // a volume of that name larger than this does not fit the wish; 0 is no limit
	SourceVolume   string
	SourceSnapshot string
}

const (
	maxNameLength = 1024
	modeBits      = 0o7777
)

func (r CreateRequest) validate() error {
	switch {
	case r.Name == "" || len(r.Name) > maxNameLength:
		return fmt.Errorf("%w: name must have 1 to %d bytes", ErrInvalid, maxNameLength)
	case r.Spec.Bytes <= 0:
		return fmt.Errorf("%w: size is %d bytes", ErrInvalid, r.Spec.Bytes)
	case r.LimitBytes < 0 || r.Spec.MaxBytes < 0:
		return fmt.Errorf("%w: a limit is negative", ErrInvalid)
	case r.LimitBytes > 0 && r.Spec.Bytes > r.LimitBytes:
		return fmt.Errorf("%w: size of %d bytes is over the limit of %d", ErrInvalid, r.Spec.Bytes, r.LimitBytes)
	case r.Spec.Mode&^modeBits != 0:
		return fmt.Errorf("%w: mode %o", ErrInvalid, r.Spec.Mode)
	case r.Spec.Inodes != 0 && (r.Spec.Inodes < store.MinInodes || r.Spec.Inodes > store.MaxInodes):
		return badInodes(r.Spec.Inodes)
	case r.SourceVolume != "" && r.SourceSnapshot != "":
		return fmt.Errorf("%w: two sources", ErrInvalid)
	}
	if bytes := store.RoundVolumeBytes(r.Spec.Bytes); r.LimitBytes > 0 && bytes > r.LimitBytes {
		return fmt.Errorf("%w: the smallest volume that fits has %d bytes", ErrOutOfRange, bytes)
	}
	return nil
}

// fits tells whether an existing volume is what was asked for.
func (r CreateRequest) fits(v store.Volume) error {
	switch {
	case v.State == store.StateRetained:
		return fmt.Errorf("%w: the data of a deleted volume with this name is retained", ErrExists)
	case v.Name != r.Name:
		return fmt.Errorf("%w: id %s belongs to another name", ErrExists, v.ID)
	case v.Spec.Bytes < r.Spec.Bytes:
		return fmt.Errorf("%w: it has %d bytes, %d were asked for", ErrExists, v.Spec.Bytes, r.Spec.Bytes)
	case r.LimitBytes > 0 && v.Spec.Bytes > r.LimitBytes:
		return fmt.Errorf("%w: it has %d bytes, over the limit of %d", ErrExists, v.Spec.Bytes, r.LimitBytes)
	case v.SourceVolume != r.SourceVolume || v.SourceSnapshot != r.SourceSnapshot:
		return fmt.Errorf("%w: it has another source", ErrExists)
	}
	return nil
}

// Create makes a volume, or finds the one that has this name.
func (e *Engine) Create(ctx context.Context, r CreateRequest) (store.Volume, error) {
	if err := r.validate(); err != nil {
		return store.Volume{}, err
	}
	if !e.Exports.Serving() {
		return store.Volume{}, ErrUnavailable
	}
	id := store.ID(r.Name)
	release, err := e.lockVolume(id)
	if err != nil {
		return store.Volume{}, err
	}
	v, err := e.findOrBegin(id, r)
	if err == nil && v.State == store.StateCreating && v.Copied() {
		return e.buildCopy(ctx, v, release)
	}
	defer release()
	if err == nil && v.State == store.StateReady {
		return v, e.askedAgain(v)
	}
	if err != nil {
		return v, err
	}
	if err := e.placeEmpty(v); err != nil {
		return store.Volume{}, err
	}
	return e.publish(ctx, v)
}

func (e *Engine) findOrBegin(id string, r CreateRequest) (store.Volume, error) {
	v, ok := e.Store.Volume(id)
	if ok && v.State == store.StateDeleting { // a delete that was cut off
		if err := e.finishDelete(v); err != nil {
			return store.Volume{}, err
		}
		v, ok = e.Store.Volume(id) // it stays when its data are retained
	}
	if ok {
		return v, r.fits(v)
	}
	return e.beginVolume(id, r)
}

// beginVolume takes the space and the ids, and writes the record of a volume that is being made.
func (e *Engine) beginVolume(id string, r CreateRequest) (store.Volume, error) {
	if e.Store.CountVolumes() >= MaxVolumes {
		return store.Volume{}, fmt.Errorf("%w: at most %d on one server", ErrTooMany, MaxVolumes)
	}
	if _, err := os.Lstat(e.Store.VolumeDir(id)); err == nil {
		return store.Volume{}, fmt.Errorf("%w: directory %s has no record; move it out of the way", ErrExists, e.Store.VolumeDir(id))
	}
	if err := e.Missing.checkCreate(r); err != nil {
		return store.Volume{}, err
	}
	spec := r.Spec
	spec.Bytes = store.RoundVolumeBytes(spec.Bytes)
	if err := e.checkSource(r, spec.Bytes); err != nil {
		return store.Volume{}, err
	}
	release, err := e.promise(id, spec)
	if err != nil {
		return store.Volume{}, err
	}
	defer release()
	project, export, err := e.Store.NewVolumeIDs()
	if err != nil {
		return store.Volume{}, err
	}
	v := store.Volume{
		ID: id, Name: r.Name, Spec: spec, ExportID: export, ProjectID: project, State: store.StateCreating,
		Created: e.Now().UTC(), SourceVolume: r.SourceVolume, SourceSnapshot: r.SourceSnapshot, Provisional: true, Asked: e.Now().UTC(),
	}
	return v, e.Store.PutVolume(v)
}

// placeEmpty makes the volume's directory in its place: it is not exported yet, and as long as the record says creating, a start of the
// agent takes it away again. What a call that was cut off has left of it is finished.
func (e *Engine) placeEmpty(v store.Volume) error {
	if err := e.Filesystem.SetLimits(v.ProjectID, v.Spec.Bytes, v.Spec.InodeLimit()); err != nil {
		return err
	}
	root := xfs.Root{Project: v.ProjectID, Mode: v.Spec.Mode, UID: v.Spec.UID, GID: v.Spec.GID}
	if err := e.Filesystem.MakeRoot(e.Store.VolumeDir(v.ID), root); err != nil {
		return fmt.Errorf("make volume directory: %w", err)
	}
	return nil
}

// publish exports a volume that is in its place, and puts it in service.
func (e *Engine) publish(ctx context.Context, v store.Volume) (store.Volume, error) {
	if err := e.SyncExports(ctx, v.ID); err != nil {
		return store.Volume{}, fmt.Errorf("export volume: %w", err)
	}
	v.State = store.StateReady
	if v.Copied() { // that may have taken long; where nothing but the state changes, the record needs no other write
		v.Asked = e.Now().UTC()
	}
	if err := e.Store.PutVolume(v); err != nil {
		return store.Volume{}, err
	}
	e.changeClaim(v, true)
	return v, nil
}

// SyncExports returns when the running NFS server knows what the access book says of the named volumes.
func (e *Engine) SyncExports(ctx context.Context, names ...string) error {
	err := e.Exports.Sync(ctx, names...)
	if errors.Is(err, ganesha.ErrNotServing) {
		return ErrUnavailable
	}
	return err
}
