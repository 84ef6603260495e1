//go:build vm && long

package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestFullDisksAndVolumes fills a volume's bytes, its inodes and the whole disk, through NFS. The writer gets "no space left on
// device", the agent goes on, and the file system is whole afterwards.
func TestFullDisksAndVolumes(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	config := h.Config(host.DiskSmall)
	config.OvercommitPercent = 400
	a := h.Start(t, config)
	a.WaitServing(t)
	c, node := h.Controller(t), h.Node(t, "node-a")
	mount := func(name string, bytes int64) string {
		return h.Mount(t, open(t, node, create(t, c, name, bytes).GetId()))
	}

	t.Run("inodes", func(t *testing.T) { testFullInodes(t, h, mount("pvc-inodes", 16*mib)) })
	first, second := mount("pvc-first", 1400*mib), mount("pvc-second", 1400*mib)
	t.Run("bytes of a volume", func(t *testing.T) {
		if err := reserveFile(filepath.Join(first, "file"), 1500*mib); !isErrno(err, unix.ENOSPC) && !isErrno(err, unix.EDQUOT) {
			t.Errorf("error %v, want no space", err)
		}
		if err := reserveFile(filepath.Join(first, "file"), 1200*mib); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("the disk", func(t *testing.T) { testFullDisk(t, a, c, node, second) })
	if err := os.Remove(filepath.Join(first, "file")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "there is room again", func() bool {
		return os.WriteFile(filepath.Join(second, "again"), make([]byte, mib), 0o600) == nil
	})
	for _, dir := range []string{first, second} {
		host.Unmount(dir)
	}
	a.Stop(t)
	if out, err := exec.Command("xfs_repair", "-n", host.DiskSmall).CombinedOutput(); err != nil {
		t.Errorf("xfs_repair -n: %v\n%s", err, out)
	}
}

// reserveFile makes a file that has all its blocks.
func reserveFile(path string, bytes int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Fallocate(int(f.Fd()), 0, 0, bytes)
}

func testFullInodes(t *testing.T, h *host.Host, dir string) {
	t.Helper()
	inside, err := filepath.Glob(filepath.Join(h.DataDir(), "volumes", "*"))
	if err != nil || len(inside) != 1 {
		t.Fatalf("volumes %v, %v", inside, err)
	}
	for i := range 4000 { // most of them without the way through NFS
		if err := os.WriteFile(filepath.Join(inside[0], fmt.Sprintf("local-%d", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	made := 0
	for ; made < 200; made++ {
		if err = os.WriteFile(filepath.Join(dir, fmt.Sprintf("remote-%d", made)), nil, 0o600); err != nil {
			break
		}
	}
	if !isErrno(err, unix.ENOSPC) && !isErrno(err, unix.EDQUOT) || made != 95 { // the root directory is one, too
		t.Errorf("after %d files: %v, want no space after 95", made, err)
	}
	if err := os.Remove(filepath.Join(dir, "remote-0")); err != nil {
		t.Fatal(err)
	}
	eventually(t, 60*time.Second, "an inode is free", func() bool {
		return os.WriteFile(filepath.Join(dir, "one more"), nil, 0o600) == nil
	})
}

func testFullDisk(t *testing.T, a *host.Agent, c, node agentv1.AgentClient, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, mib)
	written := int64(0)
	for err == nil {
		if _, err = f.Write(block); err == nil {
			err = f.Sync()
		}
		written += mib
	}
	if !isErrno(err, unix.ENOSPC) || written >= 1400*mib {
		t.Fatalf("after %d MiB: %v, want no space before the volume's size", written/mib, err)
	}
	// The agent's own records have room: volumes and grants are made and deleted, and a full disk is what the caller is told.
	for i := range 20 {
		v, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: fmt.Sprintf("pvc-on-full-%d", i), Spec: spec(mib)})
		if err != nil {
			t.Fatalf("create on a full disk: %v", err)
		}
		open(t, node, v.GetId())
	}
	_, err = c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: "pvc-too-large", Spec: spec(8 * gib)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("create of more than can be promised: %v", err)
	}
	if code, body := a.Get("/readyz"); code != 200 {
		t.Errorf("not ready: %s", body)
	}
}
