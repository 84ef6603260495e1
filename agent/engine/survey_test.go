package engine

import (
	"testing"
	"testing/synctest"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestASurveyDoesNotWaitForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		r := request("pvc-1", gib)
		r.Spec.OnDelete = store.OnDeleteArchive
		if err := f.Delete(t.Context(), f.create(r).ID); err != nil {
			t.Fatal(err)
		}
		before, err := f.Survey()
		if err != nil || before.Old || before.Holdings != (Holdings{Archived: 1}) || before.Capacity.Total != f.fs.total {
			t.Fatalf("%+v, %v", before, err)
		}
		v := f.create(request("pvc-2", gib))
		f.fs.hangs = make(chan struct{})
		for range 2 { // the second finds the first's look hanging
			s, err := f.Survey()
			if err != nil || !s.Old || s.Holdings != (Holdings{Volumes: 1, Archived: 1}) || s.Capacity != before.Capacity {
				t.Errorf("%+v, %v", s, err)
			}
		}
		close(f.fs.hangs)
		if s, err := f.Survey(); err != nil || s.Old || s.Capacity.Allocated != before.Capacity.Allocated+v.Spec.Promise() {
			t.Errorf("it does not hang any more: %+v, %v", s, err)
		}
	})
}

// A disk that holds nothing may be deleted.
func TestADiskThatHangsIsNotSaidToBeEmpty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		if s, err := f.Survey(); err != nil || s.Holdings != (Holdings{}) {
			t.Fatalf("%+v, %v", s, err)
		}
		f.fs.hangs = make(chan struct{})
		defer close(f.fs.hangs)
		_, err := f.Survey()
		wantError(t, err, ErrNoAnswer)
	})
}

func TestADiskThatHangsFromTheStartHasNoCapacity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.create(request("pvc-1", gib))
		f.fs.hangs = make(chan struct{})
		defer close(f.fs.hangs)
		s, err := f.Survey()
		if err != nil || s.Holdings != (Holdings{Volumes: 1}) {
			t.Errorf("%+v, %v", s, err)
		}
		wantError(t, s.CapacityErr, ErrNoAnswer)
	})
}
