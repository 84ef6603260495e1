package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/time/rate"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

const (
	// Removals a second. Each forces the file system's log, which the volumes in service need too.
	trashRate  = 2000
	trashBurst = 100
	// trashRetry is when a tree is tried again that could not be removed.
	trashRetry = 10 * time.Minute
)

// discard moves a tree out of its place. That it is not there (any more) is fine.
func (e *Engine) discard(from, to string) error {
	err := e.Store.Rename(from, to)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("discard: %w", err)
	}
	return nil
}

func (e *Engine) wakeTrash() {
	select {
	case e.emptyTrash <- struct{}{}:
	default:
	}
}

// runTrash removes what lies in the trash, at a bounded rate, until the context ends.
func (e *Engine) runTrash(ctx context.Context) {
	limit := rate.NewLimiter(trashRate, trashBurst)
	for {
		if err := e.emptyTrashOnce(ctx, limit.Wait); err != nil && ctx.Err() == nil {
			e.Log.Error(err, "Cannot empty the trash, will try again", "after", trashRetry.String())
		}
		select {
		case <-ctx.Done():
			return
		case <-e.emptyTrash:
		case <-time.After(trashRetry):
		}
	}
}

// emptyTrashOnce goes on after an error and returns all of them.
func (e *Engine) emptyTrashOnce(ctx context.Context, pace func(context.Context) error) error {
	trees, err := e.Store.ListTrash()
	if err != nil {
		return err
	}
	var failed []error
	for _, d := range trees {
		if err := e.removeDiscarded(ctx, d, pace); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", d, err))
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return errors.Join(failed...)
}

func (e *Engine) removeDiscarded(ctx context.Context, d store.Discarded, pace func(context.Context) error) error {
	path := e.Store.TrashDir(d)
	// A quota without limits and use is forgotten. The limits go first: when the tree has gone, nothing says whose they were.
	if err := e.Filesystem.SetLimits(d.ProjectID, 0, 0); err != nil {
		return err
	}
	return e.Filesystem.RemoveTree(ctx, filepath.Dir(path), filepath.Base(path), pace)
}
