package nodestate

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/mount/fake"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	handleA = "main/0/aaaaaaaaaaaaaaaa"
	handleB = "main/1/bbbbbbbbbbbbbbbb"
	boot    = "boot-1"
)

var (
	shard0 = volumeid.Shard{Backend: "main", Number: 0}
	shard1 = volumeid.Shard{Backend: "main", Number: 1}
	start  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

func open(t *testing.T, dir, bootID string, now time.Time) *Store {
	t.Helper()
	s, err := Open(dir, bootID, now)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func begin(t *testing.T, s *Store, handle string) Volume {
	t.Helper()
	v, err := s.Begin(Volume{Handle: handle, StagingPath: "/staging/" + handle, SingleNode: true})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func truth(t *testing.T, s *Store, shard volumeid.Shard) (int64, []Volume) {
	t.Helper()
	g, list, err := s.Truth(shard)
	if err != nil {
		t.Fatal(err)
	}
	return g, list
}

func TestRestartKeepsEverything(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, boot, start)
	a := begin(t, s, handleA)
	begin(t, s, handleB)
	if err := s.SetAddress(shard0, "10.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Forget(handleB); err != nil {
		t.Fatal(err)
	}

	s = open(t, dir, boot, start)
	if _, list := truth(t, s, shard0); !reflect.DeepEqual(list, []Volume{a}) {
		t.Errorf("volumes of shard 0: %+v, want %+v", list, a)
	}
	if _, list := truth(t, s, shard1); len(list) != 0 {
		t.Errorf("volumes of shard 1: %+v", list)
	}
	if address := s.Address(shard0); address != "10.0.0.1" {
		t.Errorf("shard 0 is at %q", address)
	}
	// Shard 1 has no volume, but its agent does not know that yet.
	if got := s.OpenShards(); len(got) != 2 {
		t.Errorf("open shards: %v", got)
	}
	if closed, err := s.Close(shard1); err != nil || !closed {
		t.Errorf("Close(1) = %v, %v", closed, err)
	}
	if closed, err := s.Close(shard0); err != nil || closed {
		t.Errorf("Close(0) = %v, %v, but a volume is staged", closed, err)
	}
	if got := open(t, dir, boot, start).OpenShards(); !slices.Equal(got, []volumeid.Shard{shard0}) {
		t.Errorf("open shards: %v", got)
	}
}

func TestGenerationRises(t *testing.T) {
	dir := t.TempDir()
	last := int64(0)
	clocks := []time.Time{start, start, start.Add(-time.Hour), start.Add(time.Hour), {}}
	for _, now := range clocks {
		s := open(t, dir, boot, now)
		for range generationBlock + 5 {
			g, _ := truth(t, s, shard0)
			if g <= last {
				t.Fatalf("generation %d after %d", g, last)
			}
			last = g
		}
		if v := begin(t, s, handleA); v.Generation <= last {
			t.Fatalf("generation %d after %d", v.Generation, last)
		} else {
			last = v.Generation
		}
	}
	// A node that lost its disk goes on by the clock.
	if g, _ := truth(t, open(t, t.TempDir(), boot, start.Add(48*time.Hour)), shard0); g <= last {
		t.Errorf("generation %d after %d", g, last)
	}
}

// A plugin that starts again and again, and then loses its directory: agents must take its word for newer than before.
func TestGenerationRisesWhenTheDirectoryIsLostAfterManyStarts(t *testing.T) {
	dir, now := t.TempDir(), start
	var last int64
	for range 20 {
		generation, _, err := open(t, dir, boot, now).Truth(shard0)
		if err != nil || generation <= last {
			t.Fatalf("generation %d after %d, %v", generation, last, err)
		}
		last, now = generation, now.Add(50*time.Millisecond)
	}
	if generation, _, err := open(t, t.TempDir(), boot, now).Truth(shard0); err != nil || generation <= last {
		t.Errorf("generation %d after %d, %v", generation, last, err)
	}
}

func TestStartDropsWhatIsNotMounted(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, boot, start)
	mounted, crashed := begin(t, s, handleA), begin(t, s, handleB)
	m := &fake.Mounter{}
	if err := m.NFS(t.Context(), mount.NFS{Address: "10.0.0.1", Path: "/a", Target: mounted.StagingPath}); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, boot, start)
	changed, err := s.Reconcile(m, true)
	if err != nil || !slices.Equal(changed, []volumeid.Shard{shard1}) {
		t.Errorf("Reconcile = %v, %v", changed, err)
	}
	if _, ok := s.Get(crashed.Handle); ok {
		t.Error("a volume that was never mounted is still there")
	}
	if _, ok := s.Get(mounted.Handle); !ok {
		t.Error("a mounted volume is gone")
	}
}

func TestReconcileLeavesVolumesInProgressAlone(t *testing.T) {
	s := open(t, t.TempDir(), boot, start)
	begin(t, s, handleA)
	if changed, err := s.Reconcile(&fake.Mounter{}, false); err != nil || len(changed) != 0 {
		t.Errorf("Reconcile = %v, %v", changed, err)
	}
}

func TestLingeringFilesystemKeepsItsVolume(t *testing.T) {
	dir := t.TempDir()
	held := mount.Filesystem{Device: "0:50", FSID: "1:2"}
	m := &fake.Mounter{}
	m.Hold(held)
	s := open(t, dir, boot, start)
	begin(t, s, handleA)
	if err := s.Linger(handleA, held); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, boot, start)
	if changed, err := s.Reconcile(m, true); err != nil || len(changed) != 0 || !s.HasLingering() {
		t.Errorf("held: Reconcile = %v, %v", changed, err)
	}
	if _, list := truth(t, s, shard0); len(list) != 1 {
		t.Errorf("announced: %v", list)
	}
	// The device number now belongs to another file system.
	m.Drop(held)
	m.Hold(mount.Filesystem{Device: "0:50", FSID: "9:9"})
	if changed, err := s.Reconcile(m, false); err != nil || len(changed) != 1 || s.HasLingering() {
		t.Errorf("gone: Reconcile = %v, %v", changed, err)
	}
}

// The volumes of an external server's share are one file system to it. One that is unmounted does not linger for as long as another is
// mounted that the kernel has given its number.
func TestLingeringEndsWhenAnotherVolumeHasTheDevice(t *testing.T) {
	s := open(t, t.TempDir(), boot, start)
	m := &fake.Mounter{}
	mounted := func(handle, path string) mount.Filesystem {
		v := begin(t, s, handle)
		if err := m.NFS(t.Context(), mount.NFS{Address: "10.0.0.1", Path: path, Target: v.StagingPath}); err != nil {
			t.Fatal(err)
		}
		mounts, err := m.Mounts()
		if err != nil {
			t.Fatal(err)
		}
		at, _ := mount.At(mounts, v.StagingPath)
		if err := s.Update(handle, func(v *Volume) { v.Source = at.Source }); err != nil {
			t.Fatal(err)
		}
		return mount.Filesystem{Device: at.Device, FSID: "1:2"}
	}
	held := mounted(handleB, "/share/volumes/bbbbbbbbbbbbbbbb")
	m.Hold(held)
	begin(t, s, handleA)
	if err := s.Linger(handleA, held); err != nil {
		t.Fatal(err)
	}
	if changed, err := s.Reconcile(m, false); err != nil || !slices.Equal(changed, []volumeid.Shard{shard0}) {
		t.Errorf("Reconcile = %v, %v", changed, err)
	}
	if _, ok := s.Get(handleB); !ok {
		t.Error("the other volume is gone")
	}
}

func TestRebootEndsLingering(t *testing.T) {
	dir := t.TempDir()
	held := mount.Filesystem{Device: "0:50", FSID: "1:2"}
	m := &fake.Mounter{}
	m.Hold(held) // the same numbers, by chance
	s := open(t, dir, boot, start)
	begin(t, s, handleA)
	if err := s.Linger(handleA, held); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir, "boot-2", start)
	if changed, err := s.Reconcile(m, true); err != nil || len(changed) != 1 {
		t.Errorf("Reconcile = %v, %v", changed, err)
	}
}

// A volume lingers and is staged again, and the mount does not come to be: the old file system is still watched.
func TestStageThatFailsKeepsLingering(t *testing.T) {
	old, newer := mount.Filesystem{Device: "0:50", FSID: "1:2"}, mount.Filesystem{Device: "0:51", FSID: "1:2"}
	unstaged := map[string]func(*testing.T, string, *Store) *Store{
		"forgotten": func(t *testing.T, _ string, s *Store) *Store {
			t.Helper()
			if err := s.Forget(handleA); err != nil {
				t.Fatal(err)
			}
			return s
		},
		"restarted": func(t *testing.T, dir string, _ *Store) *Store {
			t.Helper()
			return open(t, dir, boot, start)
		},
		"mounted anew, and that has ended": func(t *testing.T, _ string, s *Store) *Store {
			t.Helper()
			if err := s.Linger(handleA, newer); err != nil {
				t.Fatal(err)
			}
			return s
		},
	}
	for name, unstage := range unstaged {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			m := &fake.Mounter{}
			m.Hold(old)
			s := open(t, dir, boot, start)
			begin(t, s, handleA)
			if err := s.Linger(handleA, old); err != nil {
				t.Fatal(err)
			}
			begin(t, s, handleA)
			begin(t, s, handleA) // and once more
			s = unstage(t, dir, s)
			if changed, err := s.Reconcile(m, true); err != nil || len(changed) != 0 || !s.HasLingering() {
				t.Errorf("held: Reconcile = %v, %v", changed, err)
			}
			if _, list := truth(t, s, shard0); len(list) != 1 {
				t.Errorf("announced: %v", list)
			}
			m.Drop(old)
			if changed, err := s.Reconcile(m, false); err != nil || len(changed) != 1 || s.HasLingering() {
				t.Errorf("gone: Reconcile = %v, %v", changed, err)
			}
		})
	}
}

// While a stage is under way, that the old file system ends does not strike the volume out.
func TestStageInProgressOutlivesFormerFilesystem(t *testing.T) {
	s := open(t, t.TempDir(), boot, start)
	begin(t, s, handleA)
	if err := s.Linger(handleA, mount.Filesystem{Device: "0:50", FSID: "1:2"}); err != nil {
		t.Fatal(err)
	}
	begin(t, s, handleA)
	if changed, err := s.Reconcile(&fake.Mounter{}, false); err != nil || len(changed) != 0 {
		t.Errorf("Reconcile = %v, %v", changed, err)
	}
}

// What was written before a volume was unmounted is written back later: also when it is staged read-only meanwhile.
func TestReadOnlyStageLetsTheFormerFilesystemWriteBack(t *testing.T) {
	former := mount.Filesystem{Device: "0:50", FSID: "1:2"}
	staging := "/staging/" + handleA
	t.Run("mounted beside it", func(t *testing.T) {
		dir := t.TempDir()
		m := &fake.Mounter{}
		m.Hold(former)
		s := open(t, dir, boot, start)
		begin(t, s, handleA)
		if err := s.Linger(handleA, former); err != nil {
			t.Fatal(err)
		}
		v, err := s.Begin(Volume{Handle: handleA, StagingPath: staging, ReadOnly: true})
		if err != nil || v.Grant().GetReadOnly() || !s.HasLingering() {
			t.Fatalf("staged read-only: %+v, %v", v, err)
		}
		if err := m.NFS(t.Context(), mount.NFS{Address: "10.0.0.1", Path: "/aaaaaaaaaaaaaaaa", Target: staging}); err != nil {
			t.Fatal(err)
		}
		s = open(t, dir, boot, start)
		if changed, err := s.Reconcile(m, false); err != nil || len(changed) != 0 {
			t.Errorf("held: Reconcile = %v, %v", changed, err)
		}
		if _, list := truth(t, s, shard0); len(list) != 1 || list[0].Grant().GetReadOnly() {
			t.Errorf("held: %+v", list)
		}
		m.Drop(former)
		if changed, err := s.Reconcile(m, false); err != nil || len(changed) != 1 || s.HasLingering() {
			t.Errorf("gone: Reconcile = %v, %v", changed, err)
		}
		if _, list := truth(t, s, shard0); len(list) != 1 || !list[0].Grant().GetReadOnly() {
			t.Errorf("gone: %+v", list)
		}
		if changed, err := s.Reconcile(m, false); err != nil || len(changed) != 0 {
			t.Errorf("settled: Reconcile = %v, %v", changed, err)
		}
	})
	t.Run("unmounted again", func(t *testing.T) {
		s := open(t, t.TempDir(), boot, start)
		begin(t, s, handleA)
		if err := s.Linger(handleA, former); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Begin(Volume{Handle: handleA, StagingPath: staging, ReadOnly: true}); err != nil {
			t.Fatal(err)
		}
		if err := s.Linger(handleA, former); err != nil { // one for both mounts
			t.Fatal(err)
		}
		if v, _ := s.Get(handleA); v.Grant().GetReadOnly() {
			t.Errorf("it may still write back: %+v", v)
		}
	})
}
