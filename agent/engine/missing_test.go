package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestWhatAShareCannotDoIsRefused(t *testing.T) {
	f := newFixture(t)
	f.work()
	f.Missing = Missing{Quota: true, Reflink: true, Squash: true}
	v := f.create(request("a", gib))
	if again := f.create(request("a", gib)); again.ID != v.ID {
		t.Errorf("another volume: %+v", again)
	}
	_, err := f.CreateSnapshot(t.Context(), "s", v.ID)
	wantError(t, err, ErrUnsupported)
	clone := request("clone", gib)
	clone.SourceVolume = v.ID
	_, err = f.Create(t.Context(), clone)
	wantError(t, err, ErrInvalid)
	squashed := request("squashed", gib)
	squashed.Spec.Squash = store.SquashRoot
	_, err = f.Create(t.Context(), squashed)
	wantError(t, err, ErrInvalid)
	counted := request("counted", gib)
	counted.Spec.Inodes = store.MinInodes
	_, err = f.Create(t.Context(), counted)
	wantError(t, err, ErrInvalid)
	squash := store.SquashAll
	_, err = f.Modify(t.Context(), v.ID, Change{Squash: &squash})
	wantError(t, err, ErrInvalid)
	_, err = f.Usage(v.ID)
	wantError(t, err, ErrUnsupported)
	_, err = f.Usage(store.ID("nothing"))
	wantError(t, err, ErrNotFound)
	for _, name := range []string{"clone", "squashed", "counted"} {
		if _, ok := f.Store.Volume(store.ID(name)); ok {
			t.Errorf("a record of %s was left", name)
		}
	}
}

func TestWithoutQuotaTheRoomIsWhatIsNotUsed(t *testing.T) {
	f := newFixture(t)
	f.Missing = Missing{Quota: true}
	a := f.create(request("a", 60*gib))
	f.create(request("b", 60*gib)) // nobody enforces either
	c, err := f.Capacity()
	if err != nil || c.Total != 100*gib || c.Available != store.Largest(100*gib) || c.Allocated < 120*gib || c.Allocated > 125*gib {
		t.Errorf("capacity %+v, %v", c, err)
	}
	_, err = f.Create(t.Context(), request("too much", 101*gib))
	wantError(t, err, ErrNoSpace)
	if grown, err := f.Expand(a.ID, 200*gib, 0); err != nil || grown.Spec.Bytes != 200*gib {
		t.Errorf("expanded to %+v, %v", grown.Spec, err)
	}
	f.restart()
	if v, err := f.Volume(a.ID); err != nil || v.Spec.Bytes != 200*gib {
		t.Errorf("after a restart %+v, %v", v.Spec, err)
	}
}

// What is archived takes its room already: it comes back also when the share is full.
func TestArchivedVolumeComesBackToAFullShare(t *testing.T) {
	f := newFixture(t)
	f.Missing = Missing{Quota: true}
	r := request("a", gib)
	r.Spec.OnDelete = store.OnDeleteArchive
	v := f.create(r)
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	f.fs.total = 0
	if err := f.Reattach(t.Context(), v.ID); err != nil {
		t.Error(err)
	}
}

func TestWithoutQuotaNoStaticExportIsPromised(t *testing.T) {
	f := newFixture(t)
	f.Missing = Missing{Quota: true}
	_, err := f.PromiseExport("media", gib)
	wantError(t, err, ErrUnsupported)
	if !strings.Contains(err.Error(), "status.limitations") {
		t.Errorf("%v does not say where the reason is", err)
	}
}

// TestStaticExportsWithSomethingInThemHoldIt also where no quota counts what they hold.
func TestStaticExportsWithSomethingInThemHoldIt(t *testing.T) {
	f := newFixture(t)
	for i, name := range []string{"full", "empty", "gone", "out"} {
		x := store.Export{Name: name, Path: name + "/deep", ExportID: uint16(i + 1), ProjectID: uint32(i + 1)}
		if err := f.Store.PutExport(x); err != nil {
			t.Fatal(err)
		}
	}
	for _, dir := range []string{"full/deep/x", "empty/deep", "out"} {
		if err := os.MkdirAll(filepath.Join(f.Store.StaticRoot(), dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/", filepath.Join(f.Store.StaticRoot(), "out", "deep")); err != nil {
		t.Fatal(err)
	}
	if h, err := f.Holdings(); err != nil || h != (Holdings{Exports: 2}) {
		t.Errorf("holds %+v, %v; want what is full, and what cannot be looked at", h, err)
	}
}
