package engine

import (
	"context"
	"fmt"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Change is what of a volume is to be changed while it may be in use; what is nil stays.
type Change struct {
	Squash                     *store.Squash
	AnonymousUID, AnonymousGID *uint32
	OnDelete                   *store.OnDelete
	Inodes                     *int64 // 0 is the usual number for the size
	MaxBytes                   *int64 // 0 is no limit; below the present size it forbids further growth
}

func badInodes(inodes int64) error {
	return fmt.Errorf("%w: a volume can have %d to %d inodes, not %d", ErrInvalid, store.MinInodes, store.MaxInodes, inodes)
}

func (c Change) apply(s store.Spec) store.Spec {
	set(&s.Squash, c.Squash)
	set(&s.AnonymousUID, c.AnonymousUID)
	set(&s.AnonymousGID, c.AnonymousGID)
	set(&s.OnDelete, c.OnDelete)
	set(&s.Inodes, c.Inodes)
	set(&s.MaxBytes, c.MaxBytes)
	return s
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// Modify changes a volume. Fewer inodes than it has in use delete nothing: no more files can be made.
func (e *Engine) Modify(ctx context.Context, id string, c Change) (store.Volume, error) {
	if c.Inodes != nil && *c.Inodes != 0 && (*c.Inodes < store.MinInodes || *c.Inodes > store.MaxInodes) {
		return store.Volume{}, badInodes(*c.Inodes)
	}
	if c.MaxBytes != nil && *c.MaxBytes < 0 {
		return store.Volume{}, fmt.Errorf("%w: a limit is negative", ErrInvalid)
	}
	release, err := e.lockVolume(id)
	if err != nil {
		return store.Volume{}, err
	}
	defer release()
	v, err := e.Volume(id)
	if err != nil {
		return store.Volume{}, err
	}
	if changed := c.apply(v.Spec); changed != v.Spec {
		if err := e.Missing.checkSpec(changed); err != nil {
			return store.Volume{}, err
		}
		if v, err = e.record(v, changed); err != nil {
			return store.Volume{}, err
		}
	}
	// Also when nothing has changed: a call that was cut off may have written the record only.
	if err := e.Filesystem.SetLimits(v.ProjectID, v.Spec.Bytes, v.Spec.InodeLimit()); err != nil {
		return store.Volume{}, err
	}
	return v, e.SyncExports(ctx, id)
}

// record writes a changed volume, if there is room for what it may take then.
func (e *Engine) record(v store.Volume, spec store.Spec) (store.Volume, error) {
	if spec.Promise() > v.Spec.Promise() {
		release, err := e.promise(v.ID, spec)
		if err != nil {
			return store.Volume{}, err
		}
		defer release()
	}
	v.Spec = spec
	return v, e.Store.PutVolume(v)
}
