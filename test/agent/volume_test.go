//go:build vm

package agent

import (
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

func testVolumeHasExactlyItsSizeThroughNFS(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-size", 64*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))

	if got := sizeOf(t, dir); got != 64*mib {
		t.Errorf("df says %d bytes, want %d", got, 64*mib)
	}
	wantFilled(t, fill(t, filepath.Join(dir, "file")), 64*mib)
	usage, err := h.Node(t, "node-a").GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: v.GetId()})
	if err != nil || usage.GetUsedBytes() != 64*mib || usage.GetTotalBytes() != 64*mib || usage.GetTotalInodes() != 4096 {
		t.Errorf("usage %v, %v", usage, err)
	}
}

// fill writes until the quota stops it, and returns how many bytes the file has then.
func fill(t *testing.T, path string) int64 {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND|unix.O_SYNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 20, 64 << 10, 4 << 10} { // a write that does not fit as a whole is not made
		block := make([]byte, size)
		for err = nil; err == nil; {
			_, err = f.Write(block)
		}
		if !isErrno(err, unix.ENOSPC) && !isErrno(err, unix.EDQUOT) {
			t.Fatalf("write ended with %v, want no space", err)
		}
	}
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

// wantFilled allows a few blocks for the file's own extent tree, which is charged too.
func wantFilled(t *testing.T, got, size int64) {
	t.Helper()
	if got > size || got < size-4*blockBytes {
		t.Errorf("%d bytes could be written, want %d", got, size)
	}
}

func testExpandIsSeenByAMountInUse(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	v := create(t, c, "pvc-expand", 16*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	fill(t, filepath.Join(dir, "file"))

	_, err := c.ExpandVolume(within(t, 60*time.Second), &agentv1.ExpandVolumeRequest{Id: v.GetId(), Bytes: 32 * mib})
	if err != nil {
		t.Fatal(err)
	}
	wantFilled(t, fill(t, filepath.Join(dir, "file")), 32*mib)
	if got := sizeOf(t, dir); got != 32*mib {
		t.Errorf("df says %d bytes, want %d", got, 32*mib)
	}
}

func testDeleteGivesTheSpaceBack(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	used := func() int64 {
		capacity, err := c.GetCapacity(within(t, 60*time.Second), &agentv1.GetCapacityRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return capacity.GetUsedBytes()
	}
	eventually(t, 60*time.Second, "what others have deleted is gone", func() bool {
		entries, err := os.ReadDir(filepath.Join(h.DataDir(), "trash"))
		return err == nil && len(entries) == 0
	})
	before := used()
	v := create(t, c, "pvc-delete", 256*mib)
	node := h.Node(t, "node-a")
	dir := h.Mount(t, open(t, node, v.GetId()))
	fill(t, filepath.Join(dir, "file"))
	if now := used(); now < before+240*mib { // XFS takes back what it had set aside for files that others have written
		t.Fatalf("%d bytes were used, %d are, with 256 MiB written", before, now)
	}
	_, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()})
	wantCode(t, err, codes.FailedPrecondition) // node-a has just been heard

	host.Unmount(dir)
	announce(t, node, 2)
	for range 2 { // the second time it is gone
		if _, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, 60*time.Second, "space is back", func() bool { return used() < before+mib })
}

// announce says that a node has exactly these volumes staged.
func announce(t *testing.T, node agentv1.AgentClient, generation int64, ids ...string) {
	t.Helper()
	stream, err := node.Announce(within(t, 60*time.Second))
	if err != nil {
		t.Fatal(err)
	}
	a := &agentv1.Announcement{Generation: generation, Client: &agentv1.Client{BootId: "boot-1"}}
	for _, id := range ids {
		a.Grants = append(a.Grants, &agentv1.Grant{VolumeId: id, Generation: 1})
	}
	if err := stream.Send(a); err != nil {
		t.Fatal(err)
	}
	reply, err := stream.Recv()
	if err != nil || reply.GetGeneration() != generation {
		t.Fatalf("announcement answered with %v, %v", reply, err)
	}
}

// With idmapping switched off, 170 of 600 such calls failed with EINVAL in Ganesha 15.2.
func testChownNeverFails(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-chown", 16*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-chown"), v.GetId()))
	failed := 0
	for i := range 100 {
		path := filepath.Join(dir, strconv.Itoa(i))
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(path, 1000+i, 2000+i); err != nil {
			failed++
			continue
		}
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil || st.Uid != uint32(1000+i) || st.Gid != uint32(2000+i) {
			t.Errorf("owner %d:%d, %v", st.Uid, st.Gid, err)
		}
	}
	if failed > 0 {
		t.Errorf("%d of 100 failed", failed)
	}
}

// testChangesBesideNFSAreSeenAtOnce: the agent gives files to groups on the disk, where Ganesha does not see it.
func testChangesBesideNFSAreSeenAtOnce(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-beside", 16*mib)
	file := filepath.Join(h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId())), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, gid := range []uint32{4000, 4001} {
		if err := os.Chown(filepath.Join(h.DataDir(), "volumes", v.GetId(), "file"), -1, int(gid)); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(file) // asks the server for the attributes (RFC 8881, section 10.3.1)
		if err != nil {
			t.Fatal(err)
		}
		info, err := f.Stat()
		f.Close()
		if err != nil || info.Sys().(*syscall.Stat_t).Gid != gid {
			t.Errorf("group %d, %v, want %d", info.Sys().(*syscall.Stat_t).Gid, err, gid)
		}
	}
}
