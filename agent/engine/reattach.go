package engine

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// ErrKept is returned for a deleted volume whose data were kept, when nobody has said that it is to come back.
var ErrKept = fmt.Errorf("%w: it was deleted, and its data were kept; to bring it back, write volumeAttributes {reattach: \"true\"} into its PersistentVolume", ErrNotFound)

// CheckKept returns ErrKept for a deleted volume whose data were kept: a node that is late must not bring back what was deleted.
func (e *Engine) CheckKept(id string) error {
	v, ok := e.Store.Volume(id)
	if ok && v.State != store.StateRetained || !store.ValidID(id) {
		return nil
	}
	kept := ok
	if !kept {
		newest, err := e.newestArchived(id)
		if err != nil {
			return err
		}
		kept = newest.ProjectID != 0
	}
	if kept {
		return fmt.Errorf("volume %s: %w", id, ErrKept)
	}
	return nil
}

// Reattach puts a deleted volume whose data were kept, retained or archived, back into service under its old id: somebody has written a
// PersistentVolume with its handle and the attribute that says so by hand, and a node stages it. Of several archived under one id the newest comes back. A volume that
// is in service stays as it is; ErrNotFound where nothing was kept.
//
// The record is retained while the data are on their way, so that a crash loses nothing: the start-up scan moves them, and the call
// repeated puts the volume into service.
func (e *Engine) Reattach(ctx context.Context, id string) error {
	if v, ok := e.Store.Volume(id); ok && v.State == store.StateReady || !store.ValidID(id) {
		return nil
	}
	release, err := e.lockVolume(id)
	if err != nil {
		return err
	}
	defer release()
	v, ok := e.Store.Volume(id)
	switch {
	case !ok:
		v, err = e.unarchive(id)
	case v.State == store.StateRetained:
	case v.State == store.StateReady:
		return nil
	default:
		return fmt.Errorf("volume %s is %s: %w", id, v.State, ErrNotFound)
	}
	if err != nil {
		return err
	}
	if err := e.fetchArchived(v); err != nil {
		return err
	}
	if err := e.Filesystem.SetLimits(v.ProjectID, v.Spec.Bytes, v.Spec.InodeLimit()); err != nil {
		return err
	}
	v.State, v.Provisional = store.StateReady, false
	if err := e.Store.PutVolume(v); err != nil {
		return err
	}
	e.Log.Info("A deleted volume is back in service", "volume", v.ID, "name", v.Name)
	e.changeClaim(v, true)
	return e.SyncExports(ctx, id)
}

// unarchive writes the record of an archived volume back, as that of a retained one.
func (e *Engine) unarchive(id string) (store.Volume, error) {
	newest, err := e.newestArchived(id)
	if err != nil {
		return store.Volume{}, err
	}
	if newest.ProjectID == 0 {
		return store.Volume{}, fmt.Errorf("volume %s: %w", id, ErrNotFound)
	}
	v, err := e.Store.ArchivedRecord(newest)
	if err != nil {
		return store.Volume{}, fmt.Errorf("archived volume %s: %w", newest, err)
	}
	charged, err := e.charged(v.ProjectID) // is counted already
	if err != nil {
		return store.Volume{}, err
	}
	if !e.Missing.Quota { // else what it takes is taken already
		release, err := e.setAside(volumeKey(id), max(v.Spec.Promise()-charged, 0))
		if err != nil {
			return store.Volume{}, err
		}
		defer release()
	}
	v.State = store.StateRetained
	return v, e.Store.PutVolume(v)
}

// newestArchived is what was archived last under an id, with project 0 when nothing was.
func (e *Engine) newestArchived(id string) (newest store.Discarded, err error) {
	archive, err := e.Store.ListArchive()
	for _, d := range archive {
		if d.ID == id && d.ProjectID > newest.ProjectID {
			newest = d
		}
	}
	return newest, err
}

// fetchArchived moves a volume's data from the archive to their place, if they lie there.
func (e *Engine) fetchArchived(v store.Volume) error {
	err := e.Store.Rename(e.Store.ArchiveDir(v.Discarded()), e.Store.VolumeDir(v.ID))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("the data of volume %s are missing: %w", v.ID, err)
	}
	if err != nil {
		return fmt.Errorf("fetch from the archive: %w", err)
	}
	return e.Store.RemoveArchivedRecord(v.Discarded())
}
