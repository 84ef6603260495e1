package engine

import (
	"context"
	"errors"
	"testing"
	"time"
)

// slowTrash is a tree whose removal asks for leave so many times.
type slowTrash struct {
	*fakeFilesystem
	entries int
	removed chan struct{}
}

func (s slowTrash) RemoveTree(ctx context.Context, parent, name string, pace func(context.Context) error) error {
	for range s.entries {
		if err := pace(ctx); err != nil {
			return err
		}
	}
	defer close(s.removed)
	return s.fakeFilesystem.RemoveTree(ctx, parent, name, pace)
}

func TestTheTrashIsEmptiedAtABoundedRateAndHoldsUpNothing(t *testing.T) {
	f := newFixture(t)
	const entries = trashBurst + trashRate/4
	slow := slowTrash{f.fs, entries, make(chan struct{})}
	f.Filesystem = slow
	v := f.create(request("pvc-1", gib))
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	f.fs.use(v.ProjectID, mib)
	begin := time.Now()
	f.work()
	f.create(request("pvc-2", gib))
	select {
	case <-slow.removed:
		t.Fatal("the trash was empty before a create could be answered")
	default:
	}
	if c, err := f.Capacity(); err != nil || c.Trash != mib {
		t.Errorf("%d bytes in the trash, %v", c.Trash, err)
	}
	<-slow.removed
	if least := time.Second * (entries - trashBurst) / trashRate; time.Since(begin) < least {
		t.Errorf("%d entries in %s, want at least %s", entries, time.Since(begin), least)
	}
}

// Killed after a tree is gone, the agent does not know of its project any more.
func TestLimitsGoBeforeTheTree(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	f.fs.fail["RemoveTree"] = errors.New("killed")
	unpaced := func(context.Context) error { return nil }
	if err := f.emptyTrashOnce(t.Context(), unpaced); err == nil {
		t.Fatal("no error")
	}
	if q, _ := f.fs.Quota(v.ProjectID); q.LimitBytes != 0 || q.LimitInodes != 0 {
		t.Errorf("the tree may be gone, and its project still has limits: %+v", q)
	}
}
