package engine

import (
	"context"
	"fmt"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Delete takes a volume out of service and moves its data to the trash or the archive. What does not exist is deleted. A volume
// that a living node has open is not (access.ErrHeld).
func (e *Engine) Delete(ctx context.Context, id string) error {
	return e.delete(ctx, id, func(store.Volume) error { return nil })
}

func (e *Engine) delete(ctx context.Context, id string, check func(store.Volume) error) error {
	if !store.ValidID(id) {
		return nil
	}
	release, err := e.lockVolume(id)
	if err != nil {
		return err
	}
	defer release()
	v, ok := e.Store.Volume(id)
	if !ok || v.State == store.StateRetained {
		return nil
	}
	if err := check(v); err != nil {
		return err
	}
	if !e.Exports.Serving() {
		return ErrUnavailable
	}
	releaseTree, ok := e.locks.acquire(treeKey(e.Store.VolumeDir(id)))
	if !ok {
		return fmt.Errorf("%w: volume %s is being copied", ErrBusy, id)
	}
	defer releaseTree()
	if err := e.Access.Close(id, func() error {
		v.State = store.StateDeleting
		return e.Store.PutVolume(v)
	}); err != nil {
		return err
	}
	if err := e.SyncExports(ctx, id); err != nil {
		return fmt.Errorf("end export: %w", err)
	}
	return e.finishDelete(v)
}

// finishDelete does whatever is still to be done for a volume whose record says deleting and that is not exported.
func (e *Engine) finishDelete(v store.Volume) error {
	e.changeClaim(v, false)
	place := e.Store.VolumeDir(v.ID)
	switch v.Spec.OnDelete {
	case store.OnDeleteRetain:
		v.State = store.StateRetained
		return e.Store.PutVolume(v)
	case store.OnDeleteArchive:
		if err := e.Store.ArchiveRecord(v); err != nil {
			return err
		}
		if err := e.discard(place, e.Store.ArchiveDir(v.Discarded())); err != nil {
			return err
		}
	default:
		if err := e.discard(place, e.Store.TrashDir(v.Discarded())); err != nil {
			return err
		}
	}
	if err := e.Store.RemoveVolume(v.ID); err != nil {
		return err
	}
	e.wakeTrash()
	return nil
}
