//go:build vm

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

func testSnapshotRestoreAndClone(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	v := create(t, c, "pvc-source", 256*mib)
	inside := filepath.Join(h.DataDir(), "volumes", v.GetId())
	dir := h.Mount(t, open(t, h.Node(t, "node-copy"), v.GetId()))
	makeTree(t, dir, inside)
	want := describeTree(t, inside)

	usedBefore := capacity(t, c).GetUsedBytes()
	snap := snapshotReady(t, c, &agentv1.CreateSnapshotRequest{Name: "snap-1", SourceVolumeId: v.GetId()})
	if snap.GetBytes() != 256*mib {
		t.Fatalf("snapshot %v", snap)
	}
	if grown := capacity(t, c).GetUsedBytes() - usedBefore; grown > 4*mib {
		t.Errorf("the snapshot took %d bytes of the disk", grown)
	}
	if err := os.WriteFile(filepath.Join(dir, "plain"), []byte("changed since"), 0o600); err != nil {
		t.Fatal(err)
	}
	restored := createFrom(t, c, &agentv1.CreateVolumeRequest{
		Name: "pvc-restored", Spec: spec(512 * mib), SourceSnapshotId: snap.GetId(),
	})
	if got := describeTree(t, filepath.Join(h.DataDir(), "volumes", restored.GetId())); got != want {
		t.Errorf("restored:\n%s\nwant:\n%s", got, want)
	}
	restoredDir := h.Mount(t, open(t, h.Node(t, "node-copy"), restored.GetId()))
	if got := sizeOf(t, restoredDir); got != 512*mib {
		t.Errorf("restored volume has %d bytes", got)
	}
	if text, err := os.ReadFile(filepath.Join(restoredDir, "plain")); err != nil || string(text) != "plain" {
		t.Errorf("restored file %q, %v", text, err)
	}
	clone := createFrom(t, c, &agentv1.CreateVolumeRequest{
		Name: "pvc-clone", Spec: spec(256 * mib), SourceVolumeId: v.GetId(),
	})
	usage, err := c.GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: clone.GetId()})
	if err != nil || usage.GetUsedBytes() < 8*mib || usage.GetTotalBytes() != 256*mib {
		t.Errorf("a clone is charged what it references: %v, %v", usage, err)
	}
	for range 2 {
		if _, err := c.DeleteSnapshot(within(t, 60*time.Second), &agentv1.DeleteSnapshotRequest{Id: snap.GetId()}); err != nil {
			t.Error(err)
		}
	}
	list, err := c.ListSnapshots(within(t, 60*time.Second), &agentv1.ListSnapshotsRequest{})
	if err != nil || len(list.GetSnapshots()) != 0 {
		t.Errorf("snapshots %v, %v", list, err)
	}
	for _, id := range []string{clone.GetId()} {
		if _, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: id}); err != nil {
			t.Error(err)
		}
	}
	trash := filepath.Join(h.DataDir(), "trash")
	eventually(t, 60*time.Second, "the trash is empty", func() bool {
		entries, err := os.ReadDir(trash)
		return err == nil && len(entries) == 0
	})
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Errorf("something outside was removed: %v", err)
	}
}

// snapshotReady asks until the volume has its snapshot; until then the agent answers Aborted.
func snapshotReady(t *testing.T, c agentv1.AgentClient, req *agentv1.CreateSnapshotRequest) *agentv1.Snapshot {
	t.Helper()
	var snap *agentv1.Snapshot
	eventually(t, 2*time.Minute, "the volume has its snapshot", func() bool {
		var err error
		if snap, err = c.CreateSnapshot(within(t, 60*time.Second), req); err != nil && status.Code(err) != codes.Aborted {
			t.Fatal(err)
		}
		return err == nil
	})
	if !snap.GetReady() {
		t.Errorf("answered before it is ready: %v", snap)
	}
	return snap
}

// createFrom asks until the volume has its copy; until then the agent answers Aborted.
func createFrom(t *testing.T, c agentv1.AgentClient, req *agentv1.CreateVolumeRequest) *agentv1.Volume {
	t.Helper()
	var v *agentv1.Volume
	eventually(t, 2*time.Minute, "the volume has its copy", func() bool {
		var err error
		if v, err = c.CreateVolume(within(t, 60*time.Second), req); err != nil && status.Code(err) != codes.Aborted {
			t.Fatal(err)
		}
		return err == nil
	})
	return v
}

func capacity(t *testing.T, c agentv1.AgentClient) *agentv1.Capacity {
	t.Helper()
	got, err := c.GetCapacity(within(t, 60*time.Second), &agentv1.GetCapacityRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const deepLevels = 300

// makeTree makes all that a copy must keep and a removal must not follow: through NFS what clients can make, the rest on the server.
func makeTree(t *testing.T, dir, inside string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(in("plain"), []byte("plain"), 0o640))
	must(os.Chown(in("plain"), 1000, 2000))
	must(os.WriteFile(in("big"), make([]byte, 8*mib), 0o600))
	must(os.Link(in("plain"), in("second name")))
	must(os.Mkdir(in("dir"), 0o700))
	must(os.Link(in("plain"), in("dir/third name")))
	must(os.Chmod(in("dir"), os.ModeSetgid|os.ModeSticky|0o2770))
	must(os.Symlink("/etc/passwd", in("dir/link out")))
	must(os.Symlink("../../..", in("dir/link up")))
	must(os.WriteFile(in(strings.Repeat("n", 255)), nil, 0o600))
	must(os.WriteFile(in("new\nline"), nil, 0o600))
	must(os.WriteFile(in("setuid"), nil, 0o700))
	must(os.Chmod(in("setuid"), os.ModeSetuid|0o755))
	must(syscall.Mkfifo(in("pipe"), 0o622))
	must(syscall.Mknod(in("socket"), syscall.S_IFSOCK|0o600, 0))
	sparse, err := os.Create(in("sparse"))
	must(err)
	_, err = sparse.WriteAt([]byte("end"), 64*mib)
	must(err)
	must(sparse.Close())
	must(unix.Setxattr(filepath.Join(inside, "plain"), "user.colour", []byte("blue"), 0))
	deep := filepath.Join(inside, "deep")
	must(os.Mkdir(deep, 0o755))
	for range deepLevels {
		deep = filepath.Join(deep, "d")
		must(os.Mkdir(deep, 0o755))
	}
	must(os.WriteFile(filepath.Join(deep, "bottom"), []byte("bottom"), 0o600))
	must(os.Link(filepath.Join(deep, "bottom"), filepath.Join(inside, "bottom too")))
	old := time.Unix(1_000_000_000, 123_000_000)
	must(os.Chtimes(in("plain"), old, old))
	must(os.Chtimes(in("dir"), old, old))
	must(unix.Access(inside, unix.R_OK))
}

// describeTree is a line for each entry, with everything that must be the same in a copy.
func describeTree(t *testing.T, root string) string {
	t.Helper()
	var lines []string
	first := map[uint64]string{}
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(root, path)
		line := fmt.Sprintf("%.300q mode %o owner %d:%d links %d mtime %d.%d", name, st.Mode, st.Uid, st.Gid, st.Nlink, st.Mtim.Sec, st.Mtim.Nsec)
		if info.Mode().IsRegular() {
			if same, ok := first[st.Ino]; ok {
				line += fmt.Sprintf(" same as %.300q", same)
			} else {
				first[st.Ino] = name
			}
			colour := make([]byte, 16)
			n, _ := unix.Getxattr(path, "user.colour", colour)
			line += fmt.Sprintf(" size %d sparse %t colour %q", st.Size, st.Blocks*512 < st.Size, colour[:max(n, 0)])
		}
		if info.Mode()&os.ModeSymlink != 0 {
			to, _ := os.Readlink(path)
			line += " to " + to
		}
		lines = append(lines, line)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}
