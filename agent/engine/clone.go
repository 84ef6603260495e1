package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// copyPatience is how long a call waits for its copy at most; the sidecars give up after 60 s.
const copyPatience = 50 * time.Second

// checkSource makes sure that the source can be copied into a volume of that size.
func (e *Engine) checkSource(r CreateRequest, bytes int64) error {
	var needed int64
	switch {
	case r.SourceSnapshot != "":
		s, ok := e.Store.Snapshot(r.SourceSnapshot)
		switch {
		case !ok || s.State == store.StateDeleting:
			return fmt.Errorf("snapshot %q: %w", r.SourceSnapshot, ErrNotFound)
		case s.State != store.StateReady:
			return fmt.Errorf("%w: snapshot %s is being made", ErrBusy, s.ID)
		}
		needed = s.Bytes
	case r.SourceVolume != "":
		v, err := e.Volume(r.SourceVolume)
		if err != nil {
			return fmt.Errorf("volume %q: %w", r.SourceVolume, err)
		}
		needed = v.Spec.Bytes
	}
	if bytes < needed {
		return fmt.Errorf("%w: the source has %d bytes, %d were asked for", ErrOutOfRange, needed, bytes)
	}
	return nil
}

// buildCopy fills a volume from its source. The copy goes on when the caller gives up, and holds the volume's lock (release) until it
// ends: calls repeated meanwhile are told to come again.
func (e *Engine) buildCopy(ctx context.Context, v store.Volume, release func()) (store.Volume, error) {
	// The source stays in its place from now on: the copy may have to wait for others.
	releaseSource, ok := e.locks.share(treeKey(e.sourceOf(v).path))
	if !ok {
		release()
		return store.Volume{}, fmt.Errorf("%w: the source is being deleted", ErrBusy)
	}
	releaseVolume := release
	release = func() { releaseSource(); releaseVolume() }
	running, fresh, err := e.jobs.start(volumeKey(v.ID), func(ctx context.Context, j *job) error {
		defer release()
		return e.copyVolume(ctx, j, v)
	})
	if err != nil {
		release()
		return store.Volume{}, err
	}
	if !fresh { // one that has given up its lock, and is just ending
		release()
		return store.Volume{}, fmt.Errorf("%w: volume %q is being copied", ErrBusy, v.Name)
	}
	if err := running.wait(ctx, copyPatience); errors.Is(err, ErrBusy) {
		return store.Volume{}, fmt.Errorf("%w: volume %q is being copied, %d files so far: repeat the call", ErrBusy, v.Name, running.files.Load())
	} else if err != nil {
		return store.Volume{}, err
	}
	return e.Volume(v.ID)
}

func (e *Engine) copyVolume(ctx context.Context, j *job, v store.Volume) error {
	if _, err := os.Lstat(e.Store.VolumeDir(v.ID)); err != nil { // else only the export is still to be made
		if err := e.placeCopy(ctx, j, v); err != nil {
			// A repeated call begins anew.
			left := e.discard(e.Store.TmpDir(store.KindVolume, v.ID), e.Store.TrashDir(v.Discarded()))
			e.wakeTrash()
			return errors.Join(err, left, e.Filesystem.SetLimits(v.ProjectID, 0, 0), e.Store.RemoveVolume(v.ID))
		}
	}
	_, err := e.publish(ctx, v)
	return err
}

// sourceOf is the tree that a volume begins as a copy of.
func (e *Engine) sourceOf(v store.Volume) tree {
	if v.SourceSnapshot != "" {
		s, _ := e.Store.Snapshot(v.SourceSnapshot)
		return tree{e.Store.SnapshotDir(v.SourceSnapshot), s.ProjectID}
	}
	return e.volumeTree(v.SourceVolume)
}

func (e *Engine) placeCopy(ctx context.Context, j *job, v store.Volume) error {
	source := e.sourceOf(v)
	tmp := e.Store.TmpDir(store.KindVolume, v.ID)
	if err := e.copyTree(ctx, j, "volume", v.ID, source, tmp, v.Discarded()); err != nil {
		return err
	}
	// Last: a source that is full to its limit could not be copied under the same one.
	if err := e.Filesystem.SetLimits(v.ProjectID, v.Spec.Bytes, v.Spec.InodeLimit()); err != nil {
		return err
	}
	if err := e.Store.Rename(tmp, e.Store.VolumeDir(v.ID)); err != nil {
		return fmt.Errorf("place volume: %w", err)
	}
	return nil
}
