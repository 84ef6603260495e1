package engine

import (
	"testing"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestSetGroup(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("a", gib))
	wantError(t, f.SetGroup(t.Context(), store.ID("other"), 7), ErrNotFound)
	for range 2 {
		if err := f.SetGroup(t.Context(), v.ID, 7); err != nil {
			t.Fatal(err)
		}
	}
	if done, _ := f.fs.HasGroup(f.Store.VolumeDir(v.ID), 7); !done {
		t.Error("the volume does not have the group")
	}
	// Another pod's group, and too much to do for one call: it goes on in the background.
	f.fs.gate = make(chan struct{})
	done := make(chan error)
	go func() { done <- f.SetGroup(t.Context(), v.ID, 8) }()
	eventually(t, func() bool {
		f.locks.mu.Lock()
		defer f.locks.mu.Unlock()
		return f.locks.held[treeKey(f.Store.VolumeDir(v.ID))] > 0
	})
	// A third group may not take that for its own.
	other := make(chan error)
	go func() { other <- f.SetGroup(t.Context(), v.ID, 9) }()
	eventually(t, func() bool {
		f.locks.mu.Lock()
		defer f.locks.mu.Unlock()
		return f.jobs.running("group of "+volumeKey(v.ID)) && f.locks.held[treeKey(f.Store.VolumeDir(v.ID))] > 0
	})
	wantError(t, f.SetGroup(t.Context(), v.ID, 8), ErrBusy)
	wantError(t, f.Delete(t.Context(), v.ID), ErrBusy)
	close(f.fs.gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	wantError(t, <-other, ErrBusy)
	if err := f.SetGroup(t.Context(), v.ID, 8); err != nil {
		t.Error(err)
	}
}
