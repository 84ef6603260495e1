package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// snapshotPatience is how long a call waits for the copy, so that a small volume's snapshot is ready with the first answer.
const snapshotPatience = 2 * time.Second

// CreateSnapshot starts a snapshot of a volume, or finds the one that has this name. It may not be ready yet.
func (e *Engine) CreateSnapshot(ctx context.Context, name, source string) (store.Snapshot, error) {
	if name == "" || len(name) > maxNameLength {
		return store.Snapshot{}, fmt.Errorf("%w: name must have 1 to %d bytes", ErrInvalid, maxNameLength)
	}
	id := store.ID(name)
	release, ok := e.locks.acquire(snapshotKey(id))
	if !ok {
		return store.Snapshot{}, fmt.Errorf("%w on snapshot %q", ErrBusy, name)
	}
	defer release()
	s, ok := e.Store.Snapshot(id)
	if ok && s.State == store.StateDeleting { // a delete that was cut off
		if err := e.finishDeleteSnapshot(s); err != nil {
			return store.Snapshot{}, err
		}
		ok = false
	}
	switch {
	case ok && (s.SourceVolume != source || s.Name != name):
		return store.Snapshot{}, fmt.Errorf("%w: snapshot %q is of volume %s", ErrExists, name, s.SourceVolume)
	case ok && s.State == store.StateReady:
		return s, nil
	case !ok:
		var err error
		if s, err = e.beginSnapshot(id, name, source); err != nil {
			return store.Snapshot{}, err
		}
	}
	return e.awaitSnapshot(ctx, s)
}

func (e *Engine) beginSnapshot(id, name, source string) (store.Snapshot, error) {
	v, err := e.Volume(source)
	if err != nil {
		return store.Snapshot{}, fmt.Errorf("volume %q: %w", source, err)
	}
	if err := e.Missing.checkSnapshot(); err != nil {
		return store.Snapshot{}, err
	}
	needed, err := e.charged(v.ProjectID)
	if err != nil {
		return store.Snapshot{}, err
	}
	release, err := e.setAside(snapshotKey(id), needed)
	if err != nil {
		return store.Snapshot{}, err
	}
	defer release()
	project, err := e.Store.NewProjectID()
	if err != nil {
		return store.Snapshot{}, err
	}
	s := store.Snapshot{
		ID: id, Name: name, SourceVolume: source, Bytes: v.Spec.Bytes, NeededBytes: needed, ProjectID: project,
		State: store.StateCreating, Created: e.Now().UTC(), Consistency: store.PerFile,
	}
	return s, e.Store.PutSnapshot(s)
}

// awaitSnapshot starts the copy if it does not run, and gives it a moment.
func (e *Engine) awaitSnapshot(ctx context.Context, s store.Snapshot) (store.Snapshot, error) {
	running, err := e.startSnapshot(s)
	if err != nil {
		return store.Snapshot{}, err
	}
	if err := running.wait(ctx, snapshotPatience); err != nil && !errors.Is(err, ErrBusy) {
		return store.Snapshot{}, err
	}
	if now, ok := e.Store.Snapshot(s.ID); ok {
		s = now
	}
	return s, nil
}

// startSnapshot holds the source in its place from now on: the copy may have to wait for others.
func (e *Engine) startSnapshot(s store.Snapshot) (*job, error) {
	release, ok := e.locks.share(treeKey(e.Store.VolumeDir(s.SourceVolume)))
	if !ok {
		return nil, fmt.Errorf("%w: volume %s is being deleted", ErrBusy, s.SourceVolume)
	}
	running, fresh, err := e.jobs.start(snapshotKey(s.ID), func(ctx context.Context) error {
		defer release()
		return e.copySnapshot(ctx, s.ID)
	})
	if err != nil || !fresh {
		release()
	}
	return running, err
}

// copySnapshot makes the tree beside its place and moves it there. It never goes on with what an earlier try has left: that would mix
// two moments.
func (e *Engine) copySnapshot(ctx context.Context, id string) error {
	s, ok := e.Store.Snapshot(id)
	if !ok || s.State != store.StateCreating {
		return nil
	}
	source := e.Store.VolumeDir(s.SourceVolume)
	s, err := e.clearSnapshot(s)
	if err != nil {
		return err
	}
	tmp, place := e.Store.TmpDir(store.KindSnapshot, id), e.Store.SnapshotDir(id)
	if err := e.copyTree(ctx, "snapshot", id, source, tmp, s.Discarded()); err != nil {
		_, renewErr := e.renewSnapshot(s)
		return errors.Join(err, renewErr)
	}
	s.State = store.StateReady
	if err := e.Store.Rename(tmp, place); err != nil {
		return fmt.Errorf("place snapshot: %w", err)
	}
	return e.Store.PutSnapshot(s)
}

// copyTree copies into tmp. On an error nothing is left there.
func (e *Engine) copyTree(ctx context.Context, what, id, source, tmp string, d store.Discarded) error {
	err := e.Filesystem.CopyTree(ctx, source, tmp, d.ProjectID, e.progress(what, id))
	if err == nil {
		return nil
	}
	e.Log.Error(err, "Copy ended", what, id)
	if errors.Is(err, syscall.ENOSPC) {
		err = fmt.Errorf("%w: %w", ErrNoSpace, err)
	}
	defer e.wakeTrash()
	return errors.Join(err, e.discard(tmp, e.Store.TrashDir(d)))
}

// renewSnapshot prepares another try. It gets a project of its own: the old one is that of a tree in the trash.
func (e *Engine) renewSnapshot(s store.Snapshot) (store.Snapshot, error) {
	project, err := e.Store.NewProjectID()
	if err != nil {
		return s, err
	}
	s.ProjectID = project
	return s, e.Store.PutSnapshot(s)
}

// clearSnapshot discards what an earlier try has left, so that there is room for another. What was placed, but not recorded as
// ready, is not used: nobody knows how old it is.
func (e *Engine) clearSnapshot(s store.Snapshot) (store.Snapshot, error) {
	for _, left := range []string{e.Store.SnapshotDir(s.ID), e.Store.TmpDir(store.KindSnapshot, s.ID)} {
		if _, err := os.Lstat(left); errors.Is(err, os.ErrNotExist) {
			continue
		}
		trash := e.Store.TrashDir(s.Discarded())
		renewed, err := e.renewSnapshot(s) // first: a name in the trash is used once
		if err != nil {
			return s, err
		}
		s = renewed
		if err := e.discard(left, trash); err != nil {
			return s, err
		}
		e.wakeTrash()
	}
	return s, nil
}

// DeleteSnapshot deletes a snapshot. What does not exist is deleted.
func (e *Engine) DeleteSnapshot(id string) error {
	if !store.ValidID(id) {
		return nil
	}
	release, ok := e.locks.acquire(snapshotKey(id))
	if !ok {
		return fmt.Errorf("%w on snapshot %s", ErrBusy, id)
	}
	defer release()
	s, ok := e.Store.Snapshot(id)
	if !ok {
		return nil
	}
	if e.jobs.running(snapshotKey(id)) {
		return fmt.Errorf("%w: snapshot %s is being made", ErrBusy, id)
	}
	releaseTree, ok := e.locks.acquire(treeKey(e.Store.SnapshotDir(id)))
	if !ok {
		return fmt.Errorf("%w: snapshot %s is being restored", ErrBusy, id)
	}
	defer releaseTree()
	s.State = store.StateDeleting
	if err := e.Store.PutSnapshot(s); err != nil {
		return err
	}
	return e.finishDeleteSnapshot(s)
}

func (e *Engine) finishDeleteSnapshot(s store.Snapshot) error {
	if err := e.discard(e.Store.SnapshotDir(s.ID), e.Store.TrashDir(s.Discarded())); err != nil {
		return err
	}
	if err := e.Store.RemoveSnapshot(s.ID); err != nil {
		return err
	}
	e.wakeTrash()
	return nil
}

// Snapshots lists the snapshots behind an id, in order of their ids, of one volume or of all.
func (e *Engine) Snapshots(after, source string) []store.Snapshot {
	var found []store.Snapshot
	for _, s := range e.Store.Snapshots() {
		if s.State != store.StateDeleting && s.ID > after && (source == "" || s.SourceVolume == source) {
			found = append(found, s)
		}
	}
	return found
}

// repairSnapshot starts a copy again that was cut off: its caller was told that it is being made.
func (e *Engine) repairSnapshot(s store.Snapshot) error {
	switch s.State {
	case store.StateDeleting:
		return e.finishDeleteSnapshot(s)
	case store.StateCreating:
		s, err := e.clearSnapshot(s)
		if err != nil {
			return err
		}
		if _, err := e.Volume(s.SourceVolume); err != nil {
			return e.Store.RemoveSnapshot(s.ID)
		}
		if s, err = e.renewSnapshot(s); err != nil { // what clearTmp has moved to the trash has the old project
			return err
		}
		_, err = e.startSnapshot(s)
		return err
	default:
		if _, err := os.Lstat(e.Store.SnapshotDir(s.ID)); err != nil {
			e.Log.Error(err, "The data of a snapshot is missing", "snapshot", s.ID, "name", s.Name)
		}
		return nil
	}
}
