package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// CreateSnapshot makes a snapshot of a volume, or finds the one that has this name. As long as it is being copied the answer is ErrBusy: whoever
// has stopped an application for it may let it go on after a success.
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
	case !ok && e.jobs.running(snapshotKey(id)): // one that has failed or was stopped, and is just ending
		return store.Snapshot{}, fmt.Errorf("%w on snapshot %q", ErrBusy, name)
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

// awaitSnapshot starts the copy if it does not run. It goes on when the caller gives up.
func (e *Engine) awaitSnapshot(ctx context.Context, s store.Snapshot) (store.Snapshot, error) {
	running, err := e.startSnapshot(s)
	if err != nil {
		return store.Snapshot{}, err
	}
	switch err := running.wait(ctx, copyPatience); {
	case errors.Is(err, ErrBusy):
		return store.Snapshot{}, fmt.Errorf("%w: snapshot %q is being made, %d files so far: repeat the call", ErrBusy, s.Name, running.files.Load())
	case errors.Is(err, context.Canceled):
		return store.Snapshot{}, fmt.Errorf("%w: the copy of snapshot %q was stopped, because it is deleted or the agent ends: repeat the call: %w", ErrBusy, s.Name, err)
	case err != nil:
		return store.Snapshot{}, err
	}
	made, ok := e.Store.Snapshot(s.ID)
	if !ok || made.State != store.StateReady { // deleted as soon as it was made
		return store.Snapshot{}, fmt.Errorf("%w on snapshot %q", ErrBusy, s.Name)
	}
	return made, nil
}

// startSnapshot holds the source in its place from now on: the copy may have to wait for others.
func (e *Engine) startSnapshot(s store.Snapshot) (*job, error) {
	release, ok := e.locks.share(treeKey(e.Store.VolumeDir(s.SourceVolume)))
	if !ok {
		return nil, fmt.Errorf("%w: volume %s is being deleted", ErrBusy, s.SourceVolume)
	}
	running, fresh, err := e.jobs.start(snapshotKey(s.ID), func(ctx context.Context, j *job) error {
		defer release()
		return e.copySnapshot(ctx, j, s.ID)
	})
	if err != nil || !fresh {
		release()
	}
	return running, err
}

// copySnapshot makes the tree beside its place and moves it there. It never goes on with what an earlier try has left: that would mix
// two moments. After an error nothing is left: who does not ask again knows of no snapshot that could be deleted.
func (e *Engine) copySnapshot(ctx context.Context, j *job, id string) error {
	s, ok := e.Store.Snapshot(id)
	if !ok || s.State != store.StateCreating {
		return nil
	}
	source := e.volumeTree(s.SourceVolume)
	s, err := e.clearSnapshot(s)
	if err != nil {
		return err
	}
	tmp, place := e.Store.TmpDir(store.KindSnapshot, id), e.Store.SnapshotDir(id)
	s.Created = e.Now().UTC()
	err = e.copyTree(ctx, j, "snapshot", id, source, tmp, s.Discarded())
	if err == nil {
		err = e.Filesystem.SetLimits(s.ProjectID, 0, 0)
	}
	if err == nil {
		if err = e.Store.Rename(tmp, place); err != nil {
			err = fmt.Errorf("place snapshot: %w", err)
		}
	}
	if err != nil {
		return errors.Join(err, e.finishDeleteSnapshot(s))
	}
	s.State = store.StateReady
	return e.Store.PutSnapshot(s)
}

// copyTree copies into tmp, and limits the copy's project: the caller sets its final limits. On an error nothing is left there.
func (e *Engine) copyTree(ctx context.Context, j *job, what, id string, source tree, tmp string, d store.Discarded) error {
	err := e.limitCopy(source.project, d.ProjectID)
	if err == nil {
		err = e.Filesystem.CopyTree(ctx, source.path, tmp, d.ProjectID, e.progress(j, what, id))
	}
	if err == nil {
		return nil
	}
	e.Log.Error(err, "Copy ended", what, id)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w (a copy may take twice what its source may; what is moved while it is copied can count several times)", ErrNoSpace, err)
	}
	defer e.wakeTrash()
	return errors.Join(err, e.discard(tmp, e.Store.TrashDir(d)))
}

// tree is what is copied, and the project that it is charged to.
type tree struct {
	path    string
	project uint32
}

// volumeTree is the tree of a volume that is held in its place.
func (e *Engine) volumeTree(id string) tree {
	v, _ := e.Store.Volume(id)
	return tree{e.Store.VolumeDir(id), v.ProjectID}
}

// copyHeadroom is how many inodes and blocks a copy may take beside twice those of its source.
const copyHeadroom = 10_000

// limitCopy bounds what the owner of a tree can make of its copy by moving files about while it is made: each may be met several times. No
// less than twice, for the sum of what a tree takes and what was put into it meanwhile.
func (e *Engine) limitCopy(source, project uint32) error {
	q, err := e.Filesystem.Quota(source)
	if err != nil {
		return err
	}
	bytes := 2*max(q.UsedBytes, q.LimitBytes) + copyHeadroom*store.BlockBytes
	return e.Filesystem.SetLimits(project, bytes, 2*max(q.UsedInodes, q.LimitInodes)+copyHeadroom)
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

// DeleteSnapshot deletes a snapshot. What does not exist is deleted. The copy of one that is being made is stopped, also while CreateSnapshot
// waits for it: the answer is ErrBusy when it has not ended before the context, or in 50 s.
func (e *Engine) DeleteSnapshot(ctx context.Context, id string) error {
	if !store.ValidID(id) {
		return nil
	}
	// Before the lock, which is held by who waits for the copy.
	if running := e.jobs.stop(snapshotKey(id)); running != nil && errors.Is(running.wait(ctx, copyPatience), ErrBusy) {
		return fmt.Errorf("%w: snapshot %s was being made, and is being stopped: repeat the call", ErrBusy, id)
	}
	if _, ok := e.Store.Snapshot(id); !ok { // else who asks for it again at once, and has the lock, could hold up a delete for ever
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
	if e.jobs.running(snapshotKey(id)) { // begun, or asked for again, since
		return fmt.Errorf("%w: snapshot %s is being made: repeat the call", ErrBusy, id)
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

// finishDeleteSnapshot leaves nothing of a snapshot, nor of one that was never whole.
func (e *Engine) finishDeleteSnapshot(s store.Snapshot) error {
	for _, left := range []string{e.Store.SnapshotDir(s.ID), e.Store.TmpDir(store.KindSnapshot, s.ID)} {
		if err := e.discard(left, e.Store.TrashDir(s.Discarded())); err != nil {
			return err
		}
	}
	if err := e.Filesystem.SetLimits(s.ProjectID, 0, 0); err != nil { // there may be no directory yet whose removal would do it
		return err
	}
	if err := e.Store.RemoveSnapshot(s.ID); err != nil {
		return err
	}
	e.wakeTrash()
	return nil
}

// Snapshots lists the snapshots behind an id, in order of their ids, of one volume or of all. Those that are being made are not snapshots
// yet, and listed only with unfinished.
func (e *Engine) Snapshots(after, source string, unfinished bool) []store.Snapshot {
	var found []store.Snapshot
	for _, s := range e.Store.Snapshots() {
		listed := s.State == store.StateReady || unfinished && s.State == store.StateCreating
		if listed && s.ID > after && (source == "" || s.SourceVolume == source) {
			found = append(found, s)
		}
	}
	return found
}

// repairSnapshot drops what was being made: nobody was told of it, and a copy from now on would be of another moment than whoever asked for it
// waits for.
func (e *Engine) repairSnapshot(s store.Snapshot) error {
	switch s.State {
	case store.StateDeleting:
		return e.finishDeleteSnapshot(s)
	case store.StateCreating:
		e.Log.Info("Rolling back a snapshot that was being made", "snapshot", s.ID, "name", s.Name)
		return e.finishDeleteSnapshot(s)
	default:
		if _, err := os.Lstat(e.Store.SnapshotDir(s.ID)); err != nil {
			e.Log.Error(err, "The data of a snapshot is missing", "snapshot", s.ID, "name", s.Name)
		}
		return nil
	}
}
