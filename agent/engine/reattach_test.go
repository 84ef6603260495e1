package engine

import (
	"os"
	"testing"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// kept makes a volume with a file, and deletes it.
func (f *fixture) kept(name string, onDelete store.OnDelete, text string) store.Volume {
	f.t.Helper()
	r := request(name, gib)
	r.Spec.OnDelete = onDelete
	v := f.create(r)
	writeFile(f.t, f, v.ID, text)
	f.fs.use(v.ProjectID, mib)
	if err := f.Delete(f.t.Context(), v.ID); err != nil {
		f.t.Fatal(err)
	}
	return v
}

func TestADeletedVolumeThatWasKeptComesBack(t *testing.T) {
	for _, policy := range []store.OnDelete{store.OnDeleteRetain, store.OnDeleteArchive} {
		t.Run(string(policy), func(t *testing.T) {
			f := newFixture(t)
			v := f.kept("pvc-1", policy, "data")
			for range 2 { // the second time it is in service
				if err := f.Reattach(t.Context(), v.ID); err != nil {
					t.Fatal(err)
				}
			}
			now, err := f.Volume(v.ID)
			if err != nil || now.ProjectID != v.ProjectID || now.ExportID != v.ExportID || now.Provisional {
				t.Errorf("volume %+v, %v", now, err)
			}
			if !f.exports.all[v.ID] || readFile(f.Store.VolumeDir(v.ID)) != "data" || f.fs.quotas[v.ProjectID].LimitBytes != gib {
				t.Error("it is not whole")
			}
			if left, _ := os.ReadDir(f.Store.Archive()); len(left) != 0 {
				t.Errorf("left in the archive: %v", left)
			}
			if h, err := f.Holdings(); err != nil || h != (Holdings{Volumes: 1}) {
				t.Errorf("holds %+v, %v", h, err)
			}
			if err := f.Delete(t.Context(), v.ID); err != nil { // and is kept again
				t.Fatal(err)
			}
			if h, err := f.Holdings(); err != nil || h != (Holdings{Archived: 1}) {
				t.Errorf("holds %+v after the second delete, %v", h, err)
			}
		})
	}
}

func TestWhatWasKeptComesBackOnlyWhenItIsMeant(t *testing.T) {
	f := newFixture(t)
	for _, policy := range []store.OnDelete{store.OnDeleteRetain, store.OnDeleteArchive} {
		v := f.kept("pvc-"+string(policy), policy, "data")
		wantError(t, f.CheckKept(v.ID), ErrKept)
		wantError(t, f.CheckKept(v.ID), ErrNotFound)
		if _, err := f.Volume(v.ID); err == nil {
			t.Error("it is in service")
		}
		if err := f.Reattach(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		if err := f.CheckKept(v.ID); err != nil {
			t.Errorf("in service: %v", err)
		}
	}
	for _, id := range []string{store.ID("never"), f.kept("gone", store.OnDeleteDelete, "data").ID, "../../etc", "e-static"} {
		if err := f.CheckKept(id); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
}

func TestReattachTakesTheNewestAndNothingElse(t *testing.T) {
	f := newFixture(t)
	f.kept("pvc-1", store.OnDeleteArchive, "older")
	v := f.kept("pvc-1", store.OnDeleteArchive, "newer")
	gone := f.kept("pvc-2", store.OnDeleteDelete, "gone")
	for _, id := range []string{gone.ID, store.ID("never")} {
		wantError(t, f.Reattach(t.Context(), id), ErrNotFound)
	}
	if err := f.Reattach(t.Context(), "../../etc"); err != nil {
		t.Errorf("what is no id is left to the access book: %v", err)
	}
	if err := f.Reattach(t.Context(), v.ID); err != nil || readFile(f.Store.VolumeDir(v.ID)) != "newer" {
		t.Errorf("%q, %v", readFile(f.Store.VolumeDir(v.ID)), err)
	}
	if h, _ := f.Holdings(); h != (Holdings{Volumes: 1, Archived: 1}) {
		t.Errorf("holds %+v", h)
	}
}

func TestAReturnFromTheArchiveNeedsRoom(t *testing.T) {
	f := newFixture(t)
	v := f.kept("pvc-1", store.OnDeleteArchive, "data")
	c, err := f.Capacity()
	if err != nil {
		t.Fatal(err)
	}
	f.create(request("all", c.Available))
	wantError(t, f.Reattach(t.Context(), v.ID), ErrNoSpace)
	if _, err := f.Volume(v.ID); err == nil {
		t.Error("it is in service")
	}
}

func TestAReturnThatWasCutOffLosesNothing(t *testing.T) {
	f := newFixture(t)
	v := f.kept("pvc-1", store.OnDeleteArchive, "data")
	v.State = store.StateRetained
	if err := f.Store.PutVolume(v); err != nil { // and the data are still in the archive
		t.Fatal(err)
	}
	f.restart()
	if readFile(f.Store.VolumeDir(v.ID)) != "data" {
		t.Error("the data were not fetched")
	}
	if err := f.Reattach(t.Context(), v.ID); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(f.Store.Archive()); len(left) != 0 {
		t.Errorf("left in the archive: %v", left)
	}
}
