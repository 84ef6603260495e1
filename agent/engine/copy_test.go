package engine

import (
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestSnapshotAndRestore(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("pvc-1", gib))
	writeFile(t, f, v.ID, "before")
	s, err := f.CreateSnapshot(t.Context(), "snap", v.ID)
	if err != nil || s.State != store.StateReady || s.Bytes != gib || s.ProjectID == v.ProjectID {
		t.Fatalf("snapshot %+v, %v", s, err)
	}
	writeFile(t, f, v.ID, "after")
	if again, err := f.CreateSnapshot(t.Context(), "snap", v.ID); err != nil || again != s {
		t.Errorf("repeated: %+v, %v", again, err)
	}
	_, err = f.CreateSnapshot(t.Context(), "snap", store.ID("other"))
	wantError(t, err, ErrExists)
	_, err = f.CreateSnapshot(t.Context(), "other", store.ID("unknown"))
	wantError(t, err, ErrNotFound)

	r := request("restored", 2*gib)
	r.SourceSnapshot = s.ID
	restored := f.create(r)
	if got := readFile(f.Store.VolumeDir(restored.ID)); got != "before" {
		t.Errorf("restored %q", got)
	}
	if f.fs.quotas[restored.ProjectID].LimitBytes != 2*gib || !f.exports.all[restored.ID] {
		t.Error("the restored volume is not whole")
	}
	writeFile(t, f, restored.ID, "written since")
	if got := readFile(f.Store.VolumeDir(f.create(r).ID)); got != "written since" {
		t.Errorf("a repeated call leaves %q", got)
	}
	r = request("cloned", gib)
	r.SourceVolume = v.ID
	if got := readFile(f.Store.VolumeDir(f.create(r).ID)); got != "after" {
		t.Errorf("cloned %q", got)
	}
	for range 2 {
		if err := f.DeleteSnapshot(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	if exists(f.Store.SnapshotDir(s.ID)) || len(f.Snapshots("", "", true)) != 0 {
		t.Error("the snapshot is still there")
	}
}

func TestASlowCopyIsBusyAndGoesOn(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("pvc-1", gib))
	f.fs.gate = make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := f.CreateSnapshot(ctx, "snap", v.ID)
	wantError(t, err, ErrBusy)
	if !strings.Contains(err.Error(), `"snap" is being made, 1 files so far: repeat the call`) {
		t.Errorf("message %q", err)
	}
	id := store.ID("snap")
	if listed, unfinished := f.Snapshots("", "", false), f.Snapshots("", "", true); len(listed) != 0 || len(unfinished) != 1 || unfinished[0].ID != id {
		t.Errorf("listed %v, unfinished %v", listed, unfinished)
	}
	restored := request("restored", gib)
	restored.SourceSnapshot = id
	_, err = f.Create(t.Context(), restored)
	wantError(t, err, ErrBusy)
	r := request("cloned", gib)
	r.SourceVolume = v.ID
	_, err = f.Create(ctx, r)
	wantError(t, err, ErrBusy)
	_, err = f.Create(t.Context(), r) // the copy holds it
	wantError(t, err, ErrBusy)
	wantError(t, f.Delete(t.Context(), v.ID), ErrBusy)
	if _, err := f.Expand(v.ID, 2*gib, 0); err != nil {
		t.Errorf("a copy holds up an expansion: %v", err)
	}
	close(f.fs.gate)
	if s, err := f.CreateSnapshot(t.Context(), "snap", v.ID); err != nil || s.State != store.StateReady {
		t.Errorf("snapshot %+v, %v", s, err)
	}
	eventually(t, func() bool {
		_, err := f.Create(t.Context(), r)
		return err == nil
	})
}

// A copy may not become many times its source, and when it has ended, however it has, nothing of that limit is left.
func TestACopyIsLimitedAsLongAsItIsMade(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("pvc-1", gib))
	clone := request("cloned", gib)
	clone.SourceVolume = v.ID
	limited := func(project uint32) bool {
		q, _ := f.fs.Quota(project)
		return q.LimitBytes >= 2*gib && q.LimitBytes < 3*gib && q.LimitInodes >= 2*v.Spec.InodeLimit() && q.LimitInodes < 3*v.Spec.InodeLimit()+copyHeadroom
	}
	for _, failing := range []error{syscall.EDQUOT, nil} {
		f.fs.gate = make(chan struct{})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := f.CreateSnapshot(ctx, "snap", v.ID)
		wantError(t, err, ErrBusy)
		_, err = f.Create(ctx, clone)
		wantError(t, err, ErrBusy)
		cancel()
		s, _ := f.Store.Snapshot(store.ID("snap"))
		c, _ := f.Store.Volume(store.ID("cloned"))
		eventually(t, func() bool { return limited(s.ProjectID) && limited(c.ProjectID) })
		f.fs.fail["CopyTree"] = failing
		close(f.fs.gate)
		if failing == nil {
			eventually(t, func() bool { _, err := f.CreateSnapshot(t.Context(), "snap", v.ID); return err == nil })
			eventually(t, func() bool { _, err := f.Create(t.Context(), clone); return err == nil })
		} else {
			eventually(t, func() bool { return !f.jobs.running(snapshotKey(s.ID)) && !f.jobs.running(volumeKey(c.ID)) })
		}
		if q, _ := f.fs.Quota(s.ProjectID); q.LimitBytes != 0 || q.LimitInodes != 0 {
			t.Errorf("with %v, the snapshot's limits are %+v", failing, q)
		}
		q, _ := f.fs.Quota(c.ProjectID)
		if failing == nil && q.LimitBytes != gib || failing != nil && q.LimitBytes != 0 {
			t.Errorf("with %v, the clone's limits are %+v", failing, q)
		}
	}
}

// A snapshot is of the time when it was copied, not of when somebody asked for it.
func TestASnapshotIsAsOldAsItsCopy(t *testing.T) {
	f := newFixture(t) // nobody works
	v := f.create(request("pvc-1", gib))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.CreateSnapshot(ctx, "snap", v.ID)
	wantError(t, err, ErrBusy)
	f.clock = f.clock.Add(time.Hour)
	f.work()
	s, err := f.CreateSnapshot(t.Context(), "snap", v.ID)
	if err != nil || !s.Created.Equal(f.clock) {
		t.Errorf("created %v, want %v, %v", s.Created, f.clock, err)
	}
}

func TestDeletingASnapshotStopsItsCopy(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("pvc-1", gib))
	f.fs.gate = make(chan struct{}) // for ever
	id := store.ID("snap")
	create := func(ctx context.Context) error {
		_, err := f.CreateSnapshot(ctx, "snap", v.ID)
		return err
	}
	wantNothingLeft := func() {
		t.Helper()
		if left := f.Snapshots("", "", true); len(left) != 0 || exists(f.Store.TmpDir(store.KindSnapshot, id)) || exists(f.Store.SnapshotDir(id)) {
			t.Errorf("left: %v", left)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	wantError(t, create(ctx), ErrBusy)
	if err := f.DeleteSnapshot(t.Context(), id); err != nil {
		t.Errorf("nobody waits: %v", err)
	}
	wantNothingLeft()

	created := make(chan error, 1)
	go func() { created <- create(t.Context()) }()
	eventually(t, func() bool { return f.jobs.running(snapshotKey(id)) })
	if err := f.DeleteSnapshot(t.Context(), id); err != nil {
		t.Errorf("a call waits for the copy: %v", err)
	}
	wantError(t, <-created, ErrBusy)
	wantNothingLeft()

	ctx, cancel = context.WithCancel(t.Context())
	defer cancel()
	go func() { // repeats at once
		defer close(created)
		for ctx.Err() == nil {
			created <- create(ctx)
		}
	}()
	go func() {
		defer cancel()
		for range 10 {
			if !f.deletedWhileRepeated(id) {
				t.Error("a call that is repeated keeps the snapshot from being deleted")
				return
			}
		}
	}()
	for err := range created {
		wantError(t, err, ErrBusy)
	}
	eventually(t, func() bool { return f.DeleteSnapshot(t.Context(), id) == nil })
	wantNothingLeft()
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Errorf("its volume: %v", err)
	}
}

// deletedWhileRepeated is true when a few calls delete a snapshot that somebody else asks for all the time.
func (f *fixture) deletedWhileRepeated(id string) bool {
	for !f.jobs.running(snapshotKey(id)) {
		runtime.Gosched()
	}
	for range 100 {
		if f.DeleteSnapshot(f.t.Context(), id) == nil {
			return true
		}
	}
	return false
}

func TestACopyThatDoesNotStopKeepsItsSnapshotFromBeingDeleted(t *testing.T) {
	f := newFixture(t) // nobody works
	v := f.create(request("pvc-1", gib))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.CreateSnapshot(ctx, "snap", v.ID)
	wantError(t, err, ErrBusy)
	wantError(t, f.DeleteSnapshot(ctx, store.ID("snap")), ErrBusy)
	f.work()
	if err := f.DeleteSnapshot(t.Context(), store.ID("snap")); err != nil || len(f.Snapshots("", "", true)) != 0 {
		t.Errorf("left: %v, %v", f.Snapshots("", "", true), err)
	}
}

func eventually(t *testing.T, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 500 {
		if ok() {
			return
		}
		<-tick.C
	}
	t.Fatal("it never came about")
}

func TestAFailedCopyLeavesNothingAndCanBeRepeated(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("pvc-1", gib))
	writeFile(t, f, v.ID, "data")
	f.fs.fail["CopyTree"] = errors.New("injected")
	if _, err := f.CreateSnapshot(t.Context(), "snap", v.ID); err == nil {
		t.Error("no error")
	}
	if left := f.Snapshots("", "", true); len(left) != 0 || exists(f.Store.TmpDir(store.KindSnapshot, store.ID("snap"))) {
		t.Errorf("left of the snapshot: %v", left)
	}
	r := request("cloned", gib)
	r.SourceVolume = v.ID
	if _, err := f.Create(t.Context(), r); err == nil {
		t.Error("no error")
	}
	if _, ok := f.Store.Volume(store.ID("cloned")); ok || exists(f.Store.TmpDir(store.KindVolume, store.ID("cloned"))) {
		t.Error("something is left of the clone")
	}
	f.fs.mu.Lock()
	delete(f.fs.fail, "CopyTree")
	f.fs.mu.Unlock()
	if s, err := f.CreateSnapshot(t.Context(), "snap", v.ID); err != nil || readFile(f.Store.SnapshotDir(s.ID)) != "data" {
		t.Errorf("snapshot %+v, %v", s, err)
	}
	if got := readFile(f.Store.VolumeDir(f.create(r).ID)); got != "data" {
		t.Errorf("cloned %q", got)
	}
}

// Ganesha is away for a moment when the copy is in its place: a repeated call finds the copy, and only exports it.
func TestACopyThatCouldNotBeExportedIsNotMadeAgain(t *testing.T) {
	f := newFixture(t)
	f.work()
	r := request("cloned", gib)
	r.SourceVolume = f.create(request("pvc-1", gib)).ID
	writeFile(t, f, r.SourceVolume, "before")
	f.fs.gate = make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.Create(ctx, r)
	wantError(t, err, ErrBusy)
	f.exports.setDown(true)
	close(f.fs.gate)
	id := store.ID(r.Name)
	eventually(t, func() bool { return !f.jobs.running(volumeKey(id)) })
	if v, _ := f.Store.Volume(id); v.State != store.StateCreating || readFile(f.Store.VolumeDir(id)) != "before" {
		t.Fatalf("volume %+v", v)
	}
	writeFile(t, f, r.SourceVolume, "after")
	f.exports.setDown(false)
	if v := f.create(r); v.State != store.StateReady || readFile(f.Store.VolumeDir(id)) != "before" {
		t.Errorf("volume %+v, with %q", v, readFile(f.Store.VolumeDir(id)))
	}
}

func TestASnapshotThatWasCutOffIsRolledBack(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	writeFile(t, f, v.ID, "data")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.CreateSnapshot(ctx, "snap", v.ID) // nobody works
	wantError(t, err, ErrBusy)
	s, _ := f.Store.Snapshot(store.ID("snap"))
	half := f.Store.TmpDir(store.KindSnapshot, s.ID)
	if err := f.fs.CopyTree(t.Context(), f.Store.VolumeDir(v.ID), half, s.ProjectID, nil); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if left := f.Snapshots("", "", true); len(left) != 0 || exists(half) {
		t.Errorf("left: %v", left)
	}
	f.clock = f.clock.Add(time.Hour)
	f.work()
	now, err := f.CreateSnapshot(t.Context(), "snap", v.ID)
	if err != nil || !now.Created.Equal(f.clock) || now.ProjectID == s.ProjectID || readFile(f.Store.SnapshotDir(s.ID)) != "data" {
		t.Errorf("asked again: %+v, %v", now, err)
	}
}

func TestASnapshotKeepsItsSpaceUntilItsCopyHasIt(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", 40*gib))
	f.fs.use(v.ProjectID, 30*gib)
	before, err := f.Capacity()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = f.CreateSnapshot(ctx, "snap", v.ID) // nobody works
	wantError(t, err, ErrBusy)
	if c, err := f.Capacity(); err != nil || c.Allocated != before.Allocated+30*gib {
		t.Errorf("begun: %d bytes allocated, %d before, %v", c.Allocated, before.Allocated, err)
	}
	_, err = f.CreateSnapshot(ctx, "another", v.ID)
	wantError(t, err, ErrNoSpace)
	f.restart()
	if c, err := f.Capacity(); err != nil || c.Allocated != before.Allocated {
		t.Errorf("restarted: %d bytes allocated, %d before, %v", c.Allocated, before.Allocated, err)
	}
	f.work()
	if _, err := f.CreateSnapshot(t.Context(), "snap", v.ID); err != nil {
		t.Fatal(err)
	}
	if c, err := f.Capacity(); err != nil || c.Allocated != before.Allocated+mib {
		t.Errorf("ready: %d bytes allocated, %d before, %v", c.Allocated, before.Allocated, err)
	}
}

func TestACopyThatIsJustEndingLeavesNoLockBehind(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	r := request("cloned", gib)
	r.SourceVolume = v.ID
	key := volumeKey(store.ID(r.Name))
	ending, fresh, err := f.jobs.start(key, func(context.Context, *job) error { return nil }) // has given up its lock, has not finished
	if err != nil || !fresh {
		t.Fatalf("fresh %t, %v", fresh, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = f.Create(ctx, r)
	wantError(t, err, ErrBusy)
	f.work()
	<-ending.done
	if got := f.create(r); got.State != store.StateReady {
		t.Errorf("volume %+v", got)
	}
}

func TestASnapshotWhoseCopyIsJustEndingIsNotBegun(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	ending, _, err := f.jobs.start(snapshotKey(store.ID("snap")), func(context.Context, *job) error { return errors.New("injected") }) // its record is gone
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.CreateSnapshot(t.Context(), "snap", v.ID)
	wantError(t, err, ErrBusy)
	if left := f.Snapshots("", "", true); len(left) != 0 {
		t.Errorf("nobody makes %v", left)
	}
	f.work()
	<-ending.done
	if _, err := f.CreateSnapshot(t.Context(), "snap", v.ID); err != nil {
		t.Error(err)
	}
}

// unready is what is left when the record could not be written after the tree was placed.
func (f *fixture) unready(s store.Snapshot) {
	f.t.Helper()
	s.State = store.StateCreating
	if err := f.Store.PutSnapshot(s); err != nil {
		f.t.Fatal(err)
	}
}

func TestASnapshotThatWasPlacedButNotRecordedIsMadeAnew(t *testing.T) {
	f := newFixture(t)
	f.work()
	v := f.create(request("pvc-1", gib))
	writeFile(t, f, v.ID, "before")
	s, err := f.CreateSnapshot(t.Context(), "snap", v.ID)
	if err != nil {
		t.Fatal(err)
	}
	f.unready(s)
	writeFile(t, f, v.ID, "after")
	again, err := f.CreateSnapshot(t.Context(), "snap", v.ID)
	if err != nil || again.State != store.StateReady || again.ProjectID == s.ProjectID || readFile(f.Store.SnapshotDir(s.ID)) != "after" {
		t.Errorf("snapshot %+v, %v", again, err)
	}
}

func TestWhatCannotBeRepairedIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	stuck := f.create(request("pvc-2", gib))
	writeFile(t, f, v.ID, "data")
	writeFile(t, f, stuck.ID, "data")
	s := store.Snapshot{ID: store.ID("snap"), Name: "snap", SourceVolume: v.ID, Bytes: gib, ProjectID: 1000}
	stuck.State = store.StateDeleting
	if err := f.Store.PutVolume(stuck); err != nil {
		t.Fatal(err)
	}
	f.unready(s)
	// Their names in the trash are taken.
	for _, d := range []store.Discarded{stuck.Discarded(), s.Discarded()} {
		if err := os.CopyFS(f.Store.TrashDir(d), os.DirFS(f.Store.VolumeDir(v.ID))); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.CopyFS(f.Store.SnapshotDir(s.ID), os.DirFS(f.Store.VolumeDir(v.ID))); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if n := f.Unrepaired(); n != 2 {
		t.Errorf("%d objects unrepaired, want 2", n)
	}
	if _, err := f.Volume(v.ID); err != nil {
		t.Errorf("the other volume: %v", err)
	}
	f.work()
	eventually(t, func() bool { // the next try finds another name
		now, err := f.CreateSnapshot(t.Context(), "snap", v.ID)
		return err == nil && now.State == store.StateReady && readFile(f.Store.SnapshotDir(s.ID)) == "data"
	})
}

func TestTheSourceOfACopyThatWaitsIsNotDeleted(t *testing.T) {
	f := newFixture(t) // nobody works
	v := f.create(request("pvc-1", gib))
	other := f.create(request("pvc-2", gib))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := f.CreateSnapshot(ctx, "snap", v.ID)
	wantError(t, err, ErrBusy)
	r := request("cloned", gib)
	r.SourceVolume = other.ID
	_, err = f.Create(ctx, r)
	wantError(t, err, ErrBusy)
	for _, id := range []string{v.ID, other.ID} {
		wantError(t, f.Delete(t.Context(), id), ErrBusy)
	}
}
