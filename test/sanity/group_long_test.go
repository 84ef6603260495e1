//go:build vm && long

package sanity

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
)

// TestGroup holds what a pod's fsGroup does to a volume, and what it costs.
func TestGroup(t *testing.T) {
	m := newMachine(t)
	node, _, stop := m.startNode(t)
	defer stop()
	conn := connect(t, serve(t, m.controller(t), node))
	k := &kubelet{machine: m, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}
	t.Run("two pods with two groups", k.testGroup)
	t.Run("the cost", k.testCostOfAGroup)
}

// testGroup is a pod with an fsGroup, and one with another.
func (k *kubelet) testGroup(t *testing.T) {
	p := k.claim(t, 8*mib, rwx)
	p.capability.GetMount().VolumeMountGroup = "4711"
	k.start(t, p, false)
	wantGroup(t, p.target, 4711, unix.S_ISGID|0o070)
	file := filepath.Join(p.target, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	wantGroup(t, file, 4711, 0) // from the directory
	second := p
	second.target += "2"
	second.capability.GetMount().VolumeMountGroup = "4712"
	k.publish(t, second, second.target, false)
	defer k.unpublish(t, second, second.target)
	within(t, time.Minute, "the other pod's group", func() bool {
		var st unix.Stat_t
		return unix.Lstat(filepath.Join(second.target, "file"), &st) == nil && st.Gid == 4712 && st.Mode&0o060 == 0o060
	})
}

func wantGroup(t *testing.T, path string, gid uint32, mode uint32) {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		t.Fatal(err)
	}
	if st.Gid != gid || st.Mode&mode != mode {
		t.Errorf("%s has group %d and mode %o, want %d and %o", path, st.Gid, st.Mode, gid, mode)
	}
}

// testCostOfAGroup measures what docs/decisions say of fsGroup: what a kubelet's walk over NFS costs, and what the same
// costs on the server. It fails only when the walk is the cheaper one.
func (k *kubelet) testCostOfAGroup(t *testing.T) {
	const files, directories = 2000, 20
	p := k.claim(t, 64*mib, rwx)
	if err := k.stage(t, p); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(k.machine.host.DataDir(), "volumes", p.id)
	for d := range directories {
		dir := filepath.Join(root, fmt.Sprint(d))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for f := range files / directories {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(f)), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	begin := time.Now()
	// What a kubelet does (kubernetes, pkg/volume/volume_linux.go).
	err := filepath.Walk(p.staging, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		if err := os.Lchown(path, -1, 4711); err != nil {
			return err
		}
		mode := info.Mode() | 0o660
		if info.IsDir() {
			mode |= os.ModeSetgid | 0o110
		}
		return os.Chmod(path, mode)
	})
	walked := time.Since(begin)
	if err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	if err := filepath.Walk(p.staging, func(string, os.FileInfo, error) error { return nil }); err != nil {
		t.Fatal(err)
	}
	looked := time.Since(begin)
	k.unstage(t, p)

	p.capability.GetMount().VolumeMountGroup = "4712"
	begin = time.Now()
	if err := k.stage(t, p); err != nil {
		t.Fatal(err)
	}
	served := time.Since(begin)
	wantGroup(t, filepath.Join(p.staging, "7", "7"), 4712, 0o060)
	k.unstage(t, p)
	begin = time.Now()
	if err := k.stage(t, p); err != nil {
		t.Fatal(err)
	}
	again := time.Since(begin)
	k.unstage(t, p)
	t.Logf("%d files: walk over NFS %s (only looking: %s); stage with a new group %s, with the same group %s", files, walked, looked, served, again)
	if served > walked {
		t.Errorf("the server takes %s, a walk over NFS %s", served, walked)
	}
}
