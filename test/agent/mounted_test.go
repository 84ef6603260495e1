//go:build vm

package agent

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

const allOptions = "prjquota,wsync"

// TestWhatAMountedFilesystemCanDo is about mounts of every kind that a kubelet can give a server.
func TestWhatAMountedFilesystemCanDo(t *testing.T) {
	h := host.New(t)
	look := func(t *testing.T, want xfs.Mounted, fstype, options string) {
		t.Helper()
		h.MountData(t, host.DiskSmall, fstype, options)
		got, err := xfs.LookAt(h.DataDir())
		if (fstype == "xfs") != (len(got.UUID) == 36) || got.Device == 0 {
			t.Errorf("%s: identity %+v", options, got)
		}
		got.UUID, got.Device = "", 0
		if err != nil || got != want {
			t.Errorf("%s mounted with %q: %+v, %v; want %+v", fstype, options, got, err, want)
		}
	}
	host.Make(t, host.DiskSmall, "mkfs.xfs", "-q", "-f", "-K")
	all := xfs.Mounted{Type: "xfs", Projects: true, Quota: true, Reflink: true, Xattrs: true, Durable: true, Numbered: true}
	look(t, all, "xfs", allOptions)
	less := all
	less.Quota = false
	look(t, less, "xfs", "pqnoenforce,wsync")
	less.Durable = false
	look(t, less, "xfs", "")
	_ = unix.Mount("", h.DataDir(), "", unix.MS_REMOUNT, "wsync")
	if got, err := xfs.LookAt(h.DataDir()); err != nil || got.Durable {
		t.Errorf("wsync can be added to a mount (%+v, %v): the agent could do that", got, err)
	}
	if err := os.Mkdir(filepath.Join(h.DataDir(), "below"), 0o700); err != nil {
		t.Fatal(err)
	}
	part := t.TempDir()
	if err := unix.Mount(filepath.Join(h.DataDir(), "below"), part, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(part, 0)
	if _, err := xfs.LookAt(part); !errors.Is(err, xfs.ErrNotWhole) || !strings.Contains(err.Error(), "/below") {
		t.Errorf("a directory of a file system: %v", err)
	}
	if _, err := xfs.LookAt(filepath.Join(h.DataDir(), "below")); !errors.Is(err, xfs.ErrNotWhole) {
		t.Errorf("a directory that is no mount: %v", err)
	}
	_ = unix.Unmount(part, 0)
	if _, err := xfs.LookAt("/proc"); !errors.Is(err, xfs.ErrNoHandles) {
		t.Errorf("a file system without file handles: %v", err)
	}
	if err := unix.Mount("tmpfs", part, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := xfs.LookAt(part); !errors.Is(err, xfs.ErrNoHandles) {
		t.Errorf("a tmpfs: %v", err)
	}
	_ = unix.Unmount(part, 0)
	h.UnmountData(t)
	host.Make(t, host.DiskSmall, "mkfs.ext4", "-q", "-F")
	other := xfs.Mounted{Type: "ext4", Xattrs: true}
	look(t, other, "ext4", "")
	look(t, other, "ext4", "dirsync,barrier=0")
	other.Durable = true
	look(t, other, "ext4", "dirsync")
	h.UnmountData(t)
	host.Make(t, host.DiskSmall, "mkfs.xfs", "-q", "-f", "-K", "-m", "reflink=0")
	all.Reflink = false
	look(t, all, "xfs", allOptions)
}

// TestAMountedXFS is the life of volumes on an XFS that somebody else has made, in a container without devices, and of the disk on
// another device number.
func TestAMountedXFS(t *testing.T) {
	h := host.New(t)
	h.HideDevices(t)
	host.Make(t, host.DiskLarge, "mkfs.xfs", "-q", "-f", "-K")
	h.MountData(t, host.DiskLarge, "xfs", allOptions)
	if err := os.Chmod(h.DataDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	a := h.Start(t, h.Mounted(""))
	a.WaitServing(t)
	st := statusOf(t, h)
	if can := st.GetCapabilities(); !can.GetQuota() || !can.GetReflink() || !can.GetAccess() || !can.GetXattrs() || !can.GetDurable() || !can.GetStableHandles() {
		t.Errorf("capabilities %v", can)
	}
	if st.GetFilesystem() != "xfs" || st.GetMkfsOptions() != "" || len(st.GetWarnings()) > 0 {
		t.Errorf("status %v", st)
	}
	var s unix.Statfs_t
	const flags = unix.ST_NODEV | unix.ST_NOSUID | unix.ST_NOEXEC | unix.ST_NOATIME
	if err := unix.Statfs(h.DataDir(), &s); err != nil || s.Flags&flags != flags {
		t.Errorf("the mount has flags %#x, %v", s.Flags, err)
	}
	dir := testVolumesWithQuota(t, h)
	if err := unix.Mknod(filepath.Join(dir, "device"), unix.S_IFBLK|0o600, int(unix.Mkdev(7, 7))); !isErrno(err, unix.EPERM) {
		t.Errorf("a client made a device node: %v", err)
	}
	f, err := os.Create(filepath.Join(dir, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	a.Stop(t)
	if _, err := os.Stat(filepath.Join(h.DataDir(), "volumes")); err != nil {
		t.Errorf("the agent has unmounted what it has not mounted: %v", err)
	}
	h.UnmountData(t)
	attach(t, host.DiskLarge, otherNumber)
	h.MountData(t, otherNumber, "xfs", allOptions)
	a = h.Start(t, h.Mounted(st.GetServerId()))
	a.WaitServing(t)
	if _, err := f.WriteString("after"); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
	host.Unmount(dir) // as long as there is a server
}

// testVolumesWithQuota leaves one mounted.
func testVolumesWithQuota(t *testing.T, h *host.Host) (dir string) {
	t.Helper()
	c := h.Controller(t)
	v := create(t, c, "pvc-1", 16*mib)
	dir = h.Mount(t, open(t, h.Node(t, "node-1"), v.GetId()))
	if got := sizeOf(t, dir); got != 16*mib {
		t.Errorf("df says %d bytes, want %d", got, 16*mib)
	}
	wantFilled(t, fill(t, filepath.Join(dir, "full")), 16*mib)
	snapshot := snapshotReady(t, c, &agentv1.CreateSnapshotRequest{Name: "snap-1", SourceVolumeId: v.GetId()})
	if err := os.Remove(filepath.Join(dir, "full")); err != nil {
		t.Fatal(err)
	}
	restored := createFrom(t, c, &agentv1.CreateVolumeRequest{Name: "pvc-2", Spec: spec(32 * mib), SourceSnapshotId: snapshot.GetId()})
	clone := createFrom(t, c, &agentv1.CreateVolumeRequest{Name: "pvc-3", Spec: spec(32 * mib), SourceVolumeId: restored.GetId()})
	usage, err := c.GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: clone.GetId()})
	if err != nil || usage.GetTotalBytes() != 32*mib || usage.GetUsedBytes() < 15*mib {
		t.Errorf("usage of the clone of what was restored: %v, %v", usage, err)
	}
	return dir
}

// TestAMountedExt4 serves what can be served there, and refuses the rest.
func TestAMountedExt4(t *testing.T) {
	h := host.New(t)
	h.HideDevices(t)
	host.Make(t, host.DiskSmall, "mkfs.ext4", "-q", "-F")
	h.MountData(t, host.DiskSmall, "ext4", "")
	foreign := filepath.Join(h.DataDir(), "precious")
	if err := os.WriteFile(foreign, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := h.Start(t, h.Mounted(""))
	wantReason(t, a, "FilesystemNotEmpty", `"precious"`)
	if left, err := os.ReadDir(h.DataDir()); err != nil || len(left) != 2 { // and lost+found
		t.Errorf("the file system has %v, %v", left, err)
	}
	if err := os.Remove(foreign); err != nil {
		t.Fatal(err)
	}
	h.WriteExports(t, config.Exports{Exports: []config.StaticExport{staticExport("media", config.ExportClient{CIDR: here})}})
	a.WaitServing(t)
	testVolumesWithoutQuota(t, h)
	serverID := statusOf(t, h).GetServerId()
	a.Stop(t)
	h.UnmountData(t)

	host.Make(t, host.DiskSmall, "mkfs.ext4", "-q", "-F")
	h.MountData(t, host.DiskSmall, "ext4", "")
	wantReason(t, h.Start(t, h.Mounted(serverID)), "FilesystemChanged", serverID)
	if left, err := os.ReadDir(h.DataDir()); err != nil || len(left) != 1 {
		t.Errorf("the file system has %v, %v", left, err)
	}
}

func testVolumesWithoutQuota(t *testing.T, h *host.Host) {
	t.Helper()
	st, c := statusOf(t, h), h.Controller(t)
	if can := st.GetCapabilities(); can.GetQuota() || can.GetReflink() || !can.GetAccess() || !can.GetXattrs() || can.GetDurable() || !can.GetStableHandles() {
		t.Errorf("capabilities %v", can)
	}
	if st.GetFilesystem() != "ext4" || len(st.GetWarnings()) != 1 || !strings.Contains(st.GetWarnings()[0], "export media") {
		t.Errorf("status %v", st)
	}
	v := create(t, c, "pvc-1", 4*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-1"), v.GetId()))
	if err := os.WriteFile(filepath.Join(dir, "file"), make([]byte, 8*mib), 0o600); err != nil {
		t.Errorf("past the size, which is not enforced: %v", err)
	}
	if got := sizeOf(t, dir); got < gib {
		t.Errorf("df says %d bytes, want those of the disk", got)
	}
	_, err := c.GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: v.GetId()})
	wantCode(t, err, codes.FailedPrecondition)
	_, err = c.CreateSnapshot(within(t, 60*time.Second), &agentv1.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.GetId()})
	wantCode(t, err, codes.FailedPrecondition)
	_, err = c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: "clone", Spec: spec(4 * mib), SourceVolumeId: v.GetId()})
	wantCode(t, err, codes.InvalidArgument)
	grown, err := c.ExpandVolume(within(t, 60*time.Second), &agentv1.ExpandVolumeRequest{Id: v.GetId(), Bytes: 8 * mib})
	if err != nil || grown.GetSpec().GetBytes() != 8*mib {
		t.Errorf("expanded to %v, %v", grown, err)
	}
	host.Unmount(dir)
	announce(t, h.Node(t, "node-1"), 2)
	if _, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
		t.Error(err)
	}
	eventually(t, 60*time.Second, "the trash is empty", func() bool {
		left, err := os.ReadDir(filepath.Join(h.DataDir(), "trash"))
		return err == nil && len(left) == 0
	})
}

// TestAMountThatIsReadOnly: who has asked for that has to mount it anew, and no other pod helps.
func TestAMountThatIsReadOnly(t *testing.T) {
	h := host.New(t)
	h.HideDevices(t)
	refused := func(reason, says, serverID string) {
		t.Helper()
		a := h.Start(t, h.Mounted(serverID))
		wantReason(t, a, reason, says)
		a.Stop(t)
	}
	host.Make(t, host.DiskSmall, "mkfs.xfs", "-q", "-f", "-K")
	h.MountData(t, host.DiskSmall, "xfs", "ro")
	refused("FilesystemReadOnly", "mountOptions", "")
	h.UnmountData(t)

	host.Make(t, host.DiskSmall, "mkfs.ext4", "-q", "-F")
	h.MountData(t, host.DiskSmall, "ext4", "")
	a := h.Start(t, h.Mounted(""))
	a.WaitServing(t)
	id := statusOf(t, h).GetServerId()
	a.Stop(t)
	h.MountData(t, host.DiskSmall, "ext4", "ro")
	refused("FilesystemReadOnly", "mountOptions", id)
	if err := unix.Mount("", h.DataDir(), "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil { // as a container's runtime does
		t.Fatal(err)
	}
	refused("FilesystemReadOnly", "mountOptions", id)

	h.MountData(t, host.DiskSmall, "ext4", "")
	trigger := filepath.Join("/sys/fs/ext4", filepath.Base(host.DiskSmall), "trigger_fs_error")
	if err := os.WriteFile(trigger, []byte("a test"), 0o200); err != nil {
		t.Fatal(err)
	}
	remountReadOnly(t, h.DataDir())
	refused("FilesystemFailed", "new pod", id)
}

// remountReadOnly makes every file system that lies on a device read-only, in use or not, as ext4 does by itself after an error.
func remountReadOnly(t *testing.T, dir string) {
	t.Helper()
	if err := os.WriteFile("/proc/sysrq-trigger", []byte("u"), 0o200); err != nil {
		t.Fatal(err)
	}
	eventually(t, time.Minute, "the file system is read-only", func() bool {
		var s unix.Statfs_t
		return unix.Statfs(dir, &s) == nil && s.Flags&unix.ST_RDONLY != 0
	})
}
