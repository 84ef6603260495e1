package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestModify(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	modified, err := f.Modify(t.Context(), v.ID, Change{
		Squash: new(store.SquashAll), AnonymousUID: new(uint32(99)), OnDelete: new(store.OnDeleteArchive), Inodes: new(int64(1 << 20)),
	})
	want := v.Spec
	want.Squash, want.AnonymousUID, want.OnDelete, want.Inodes = store.SquashAll, 99, store.OnDeleteArchive, 1<<20
	if err != nil || modified.Spec != want {
		t.Fatalf("got %+v, %v", modified.Spec, err)
	}
	if got := f.fs.quotas[v.ProjectID].LimitInodes; got != 1<<20 {
		t.Errorf("%d inodes are allowed", got)
	}
	if e, _ := f.Access.Export(v.ID); e.AnonymousUID != 99 {
		t.Errorf("export is %+v", e)
	}
	f.restart()
	if again, err := f.Modify(t.Context(), v.ID, Change{}); err != nil || again.Spec != want {
		t.Errorf("after a restart: %+v, %v", again.Spec, err)
	}
	if grown, err := f.Expand(v.ID, 2*gib, 0); err != nil || grown.Spec.Inodes != 1<<20 || f.fs.quotas[v.ProjectID].LimitInodes != 1<<20 {
		t.Errorf("grown: %+v, %v", grown.Spec, err)
	}
	usual, err := f.Modify(t.Context(), v.ID, Change{Inodes: new(int64(0))})
	if err != nil || usual.Spec.InodeLimit() != 2*65536 || f.fs.quotas[v.ProjectID].LimitInodes != 2*65536 {
		t.Errorf("the usual number is %d, %v", usual.Spec.InodeLimit(), err)
	}
}

func TestModifyRefuses(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	for name, c := range map[string]struct {
		id     string
		inodes int64
		want   error
	}{
		"no such volume":       {store.ID("other"), 1 << 20, ErrNotFound},
		"a path":               {"../x", 1 << 20, ErrNotFound},
		"too few":              {v.ID, 1, ErrInvalid},
		"negative":             {v.ID, -1, ErrInvalid},
		"too many":             {v.ID, 1<<63 - 1, ErrInvalid},
		"more than disk takes": {v.ID, 1 << 30, ErrNoSpace},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Modify(t.Context(), c.id, Change{Inodes: &c.inodes})
			wantError(t, err, c.want)
		})
	}
	if got, _ := f.Volume(v.ID); got != v {
		t.Errorf("record is %+v, was %+v", got, v)
	}
	r := request("new", gib)
	r.Spec.Inodes = 1
	_, err := f.Create(t.Context(), r)
	wantError(t, err, ErrInvalid)
}

func TestAModificationThatWasCutOffIsFinishedByTheNext(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	f.fs.fail["SetLimits"] = errors.New("killed")
	change := Change{Inodes: new(int64(8192))}
	if _, err := f.Modify(t.Context(), v.ID, change); err == nil {
		t.Fatal("no error")
	}
	delete(f.fs.fail, "SetLimits")
	if _, err := f.Modify(t.Context(), v.ID, change); err != nil || f.fs.quotas[v.ProjectID].LimitInodes != 8192 {
		t.Errorf("%d inodes are allowed, %v", f.fs.quotas[v.ProjectID].LimitInodes, err)
	}
}

func TestOnlyProvisionalVolumesAreSwept(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	if !v.Provisional || !v.Asked.Equal(f.clock) {
		t.Fatalf("new volume is %+v", v)
	}
	sweep := func() error { return f.DeleteProvisional(t.Context(), v.ID, time.Hour) }
	wantError(t, sweep(), ErrConfirmed)
	f.clock = f.clock.Add(59 * time.Minute)
	f.create(request("pvc-1", gib)) // somebody still asks for it
	f.clock = f.clock.Add(59 * time.Minute)
	wantError(t, sweep(), ErrConfirmed)
	f.restart()
	f.clock = f.clock.Add(time.Minute)
	if err := sweep(); err != nil {
		t.Error(err)
	}
	if _, err := f.Volume(v.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("it is still there: %v", err)
	}
	if err := sweep(); err != nil {
		t.Errorf("sweep of what is gone: %v", err)
	}

	v = f.create(request("pvc-2", gib))
	for range 2 {
		if err := f.Confirm(v.ID); err != nil {
			t.Fatal(err)
		}
	}
	f.clock = f.clock.Add(24 * time.Hour)
	f.restart()
	wantError(t, sweep(), ErrConfirmed)
	if again := f.create(request("pvc-2", gib)); again.Provisional {
		t.Error("a confirmed volume is provisional again")
	}
	if err := f.Confirm(store.ID("unknown")); err != nil {
		t.Error(err)
	}
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Error(err)
	}
}
