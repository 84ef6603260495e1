package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// groupAtOnce is how long a call works itself: enough for a small volume, which needs to wait for no worker.
	groupAtOnce = 2 * time.Second
	// groupPatience is how long a call waits for the work in the background.
	groupPatience = 12 * time.Second
)

// SetGroup lets a group read and write all that is in a volume. A large volume takes longer than a call: it is ErrBusy
// until a repeated call finds it done.
func (e *Engine) SetGroup(ctx context.Context, id string, gid uint32) error {
	if _, err := e.Volume(id); err != nil {
		return err
	}
	root := e.Store.VolumeDir(id)
	if done, err := e.Filesystem.HasGroup(root, gid); err != nil || done {
		return err
	}
	running, err := e.startGroup(ctx, id, root, gid)
	if err != nil || running == nil {
		return err
	}
	if err := running.wait(ctx, groupPatience); err != nil {
		return fmt.Errorf("give files of volume %s to group %d: %w", id, gid, err)
	}
	return nil
}

// startGroup does the work, or leaves it to the job that it returns. Only one call at a time does: another may be for another group.
func (e *Engine) startGroup(ctx context.Context, id, root string, gid uint32) (*job, error) {
	busy := fmt.Errorf("%w: files of volume %s are being given to a group", ErrBusy, id)
	key := "group of " + volumeKey(id)
	release, ok := e.locks.acquire(key)
	if !ok {
		return nil, busy
	}
	defer release()
	if e.jobs.running(key) {
		return nil, busy
	}
	soon, cancel := context.WithTimeout(ctx, groupAtOnce)
	defer cancel()
	err := e.groupTree(soon, root, gid)
	if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil {
		return nil, err
	}
	running, fresh, err := e.jobs.start(key, func(ctx context.Context, _ *job) error { return e.groupTree(ctx, root, gid) })
	if err != nil {
		return nil, err
	}
	if !fresh {
		return nil, busy
	}
	return running, nil
}

func (e *Engine) groupTree(ctx context.Context, root string, gid uint32) error {
	release, ok := e.locks.share(treeKey(root))
	if !ok {
		return fmt.Errorf("%w: the volume is being deleted", ErrBusy)
	}
	defer release()
	return e.Filesystem.SetGroup(ctx, root, gid)
}
