//go:build vm

package agent

import (
	"context"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

func TestForeignDisksAreRefusedAndHealWhenWiped(t *testing.T) {
	cases := map[string]struct {
		prepare func(t *testing.T)
		names   string // what the message must name
	}{
		"ext4": {func(t *testing.T) {
			t.Helper()
			host.Wipe(t, host.DiskSmall)
			if out, err := exec.Command("mkfs.ext4", "-q", "-F", "-L", "precious", host.DiskSmall).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.ext4: %v: %s", err, out)
			}
		}, `ext4 file system with label "precious"`},
		"garbage at the start": {func(t *testing.T) {
			t.Helper()
			writeAt(t, host.DiskSmall, 4096, "something")
		}, "at byte 4096"},
		"garbage at the end": {func(t *testing.T) {
			t.Helper()
			writeAt(t, host.DiskSmall, 2*gib-10, "something")
		}, "at byte 2147483638"},
		"another's XFS": {func(t *testing.T) {
			t.Helper()
			host.Wipe(t, host.DiskSmall)
			if out, err := exec.Command("mkfs.xfs", "-q", "-f", "-L", "theirs", host.DiskSmall).CombinedOutput(); err != nil {
				t.Fatalf("mkfs.xfs: %v: %s", err, out)
			}
		}, `xfs file system with label "theirs"`},
	}
	h := host.New(t)
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			c.prepare(t)
			before := head(t, host.DiskSmall)
			a := h.Start(t, h.Config(host.DiskSmall))
			eventually(t, 20*time.Second, "refused", func() bool {
				code, body := a.Get("/readyz")
				return code == http.StatusServiceUnavailable && strings.HasPrefix(body, "DeviceNotBlank: ") && strings.Contains(body, c.names)
			})
			if code, _ := a.Get("/livez"); code != http.StatusOK {
				t.Error("a refused disk must not restart the pod")
			}
			st, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
			if err != nil || st.GetServing() || st.GetReason() != "DeviceNotBlank" {
				t.Errorf("status %v, %v", st, err)
			}
			if head(t, host.DiskSmall) != before {
				t.Fatal("the disk was changed")
			}
			host.Wipe(t, host.DiskSmall)
			a.WaitServing(t)
		})
	}
}

func writeAt(t *testing.T, device string, at int64, text string) {
	t.Helper()
	host.Wipe(t, device)
	overwrite(t, device, at, text)
}

func overwrite(t *testing.T, device string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), at); err != nil {
		t.Fatal(err)
	}
}

func head(t *testing.T, device string) string {
	t.Helper()
	f, err := os.Open(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text := make([]byte, 1<<20)
	if _, err := f.ReadAt(text, 0); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestAnInterruptedFormatIsMadeAnew(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	a := h.Start(t, h.Config(host.DiskSmall))
	a.WaitServing(t)
	a.Stop(t)
	inProgress := []byte{1}
	f, err := os.OpenFile(host.DiskSmall, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(inProgress, 126); err != nil { // sb_inprogress
		t.Fatal(err)
	}
	f.Close()
	if got, err := xfs.Inspect(context.Background(), host.DiskSmall); err != nil || got.Kind != xfs.Unfinished {
		t.Fatalf("inspected as %+v, %v", got, err)
	}
	h.Start(t, h.Config(host.DiskSmall)).WaitServing(t)
}

// TestClientsDataThatLookLikeAnothersDisk: a client can fill the disk with the signature of another kind of disk, so that it lies where that
// is looked for. The disk is known all the same. Ganesha does not find the file system's UUID until the signature is gone, and
// nothing is served until then.
func TestClientsDataThatLookLikeAnothersDisk(t *testing.T) {
	const signature, at = "Intel Raid ISM Cfg Sig. 1.2.01", 2*gib - 1024 // no file has that block
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	a := h.Start(t, h.Config(host.DiskSmall))
	a.WaitServing(t)
	c := h.Config(host.DiskSmall)
	c.ServerID = statusOf(t, h).GetServerId()
	a.Stop(t)
	out, err := exec.Command("blkid", "-p", "-s", "UUID", "-o", "value", host.DiskSmall).Output()
	ours := xfs.Content{Kind: xfs.Ours, UUID: strings.TrimSpace(string(out))}
	if got, errFound := xfs.Inspect(t.Context(), host.DiskSmall); err != nil || errFound != nil || got != ours || c.ServerID != store.ServerIDOf(ours.UUID) {
		t.Fatalf("inspected as %+v, %v; blkid: %+v, %v; it is the disk of %s", got, errFound, ours, err, c.ServerID)
	}

	overwrite(t, host.DiskSmall, at, signature)
	if out, err := exec.Command("blkid", "-p", host.DiskSmall).CombinedOutput(); !strings.Contains(string(out), "isw_raid_member") {
		t.Fatalf("blkid: %s, %v", out, err)
	}
	if got, err := xfs.Inspect(t.Context(), host.DiskSmall); err != nil || got != ours {
		t.Errorf("inspected as %+v, %v", got, err)
	}
	a = h.Start(t, c)
	wantReason(t, a, "HandleWouldChange", "blkid")
	overwrite(t, host.DiskSmall, at, string(make([]byte, len(signature))))
	a.WaitServing(t)
}

// TestADiskThatIsNotTheRightOneIsLeftAlone: where volumes are known to lie on a server, no disk but its own is used, formatted or even
// mounted. When the right one is back, the agent goes on.
func TestADiskThatIsNotTheRightOneIsLeftAlone(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	a := h.Start(t, h.Config(host.DiskSmall))
	a.WaitServing(t)
	v := create(t, h.Controller(t), "pvc-1", 16*mib)
	id := statusOf(t, h).GetServerId()
	a.Stop(t)
	for name, test := range map[string]struct {
		spoil        func(head []byte)
		wanted, says string
		kind         xfs.Kind
	}{
		"overwritten at its start":   {func(head []byte) { clear(head) }, id, "is blank at its start", xfs.Blank},
		"marked as never finished":   {func(head []byte) { head[126] = 1 }, id, "never finished", xfs.Unfinished}, // sb_inprogress
		"the disk of another server": {func([]byte) {}, "nfs-another", "is the disk of server " + id, xfs.Ours},
	} {
		t.Run(name, func(t *testing.T) {
			whole := head(t, host.DiskSmall)
			spoiled := []byte(whole)
			test.spoil(spoiled)
			setHead(t, host.DiskSmall, string(spoiled))
			if got, err := xfs.Inspect(context.Background(), host.DiskSmall); err != nil || got.Kind != test.kind {
				t.Fatalf("inspected as %+v, %v", got, err)
			}
			before := sectorsWritten(t, host.DiskSmall)
			c := h.Config(host.DiskSmall)
			c.ServerID = test.wanted
			a := h.Start(t, c)
			wantReason(t, a, "DiskChanged", test.says)
			if st := statusOf(t, h); st.GetServing() || st.GetServerId() != "" || !strings.Contains(st.GetMessage(), test.wanted) {
				t.Errorf("status %v", st)
			}
			if after := sectorsWritten(t, host.DiskSmall); after != before || head(t, host.DiskSmall) != string(spoiled) {
				t.Fatalf("the disk was written to: %s sectors, were %s", after, before)
			}
			setHead(t, host.DiskSmall, whole)
			if sectorsWritten(t, host.DiskSmall) == before {
				t.Error("the kernel does not count what is written")
			}
			if test.wanted == id {
				a.WaitServing(t)
				if st := statusOf(t, h); st.GetServerId() != id || st.GetVolumes() != 1 {
					t.Errorf("status %v", st)
				}
			}
			a.Stop(t)
		})
	}
	testLostRecords(t, h, id, v.GetId())
	testEarlyDisk(t, h, id)
}

// testEarlyDisk: the first servers had random identities, which only their records tell. A disk is not written to for a look at its record,
// though its log is not empty.
func testEarlyDisk(t *testing.T, h *host.Host, id string) {
	t.Helper()
	const early = "nfs-early"
	dir := t.TempDir()
	if err := unix.Mount(host.DiskSmall, dir, "xfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	record := filepath.Join(dir, ".nfs-operator/server.json")
	text, err := os.ReadFile(record)
	changed := strings.Replace(string(text), id, early, 1)
	if err != nil || changed == string(text) {
		t.Fatalf("record %s, %v", text, err)
	}
	if err := errors.Join(os.WriteFile(record, []byte(changed), 0o600), unix.Unmount(dir, 0), unix.Mount(host.DiskSmall, dir, "xfs", 0, "wsync")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "lost+found/1"), 0o700); err != nil { // in the log
		t.Fatal(err)
	}
	shutDown(t, dir)
	if err := unix.Unmount(dir, 0); err != nil {
		t.Fatal(err)
	}
	before := sectorsWritten(t, host.DiskSmall)
	c := h.Config(host.DiskSmall)
	c.ServerID = "nfs-another"
	a := h.Start(t, c)
	wantReason(t, a, "DiskChanged", "is the disk of server "+early)
	a.Stop(t)
	if after := sectorsWritten(t, host.DiskSmall); after != before {
		t.Errorf("the disk was written to: %s sectors, were %s", after, before)
	}
	c.ServerID = early
	a = h.Start(t, c)
	a.WaitServing(t)
	if st := statusOf(t, h); st.GetServerId() != early || st.GetVolumes() != 1 {
		t.Errorf("status %v", st)
	}
	if _, err := os.Stat(filepath.Join(h.DataDir(), "lost+found/1")); err != nil {
		t.Errorf("the log was empty: %v", err)
	}
	a.Stop(t)
}

// testLostRecords: the disk is the right one, and xfs_repair has moved the records away.
func testLostRecords(t *testing.T, h *host.Host, id, volume string) {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(host.DiskSmall, dir, "xfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	err := errors.Join(os.Mkdir(filepath.Join(dir, "lost+found"), 0o700), os.Rename(filepath.Join(dir, ".nfs-operator"), filepath.Join(dir, "lost+found/133")))
	if err = errors.Join(err, unix.Unmount(dir, 0)); err != nil {
		t.Fatal(err)
	}
	c := h.Config(host.DiskSmall)
	c.ServerID = id
	a := h.Start(t, c)
	wantReason(t, a, "DiskChanged", "lost+found")
	if _, err := os.Stat(filepath.Join(h.DataDir(), "volumes")); err == nil {
		t.Error("the disk is still mounted")
	}
	if err := unix.Mount(host.DiskSmall, dir, "xfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	err = os.Rename(filepath.Join(dir, "lost+found/133"), filepath.Join(dir, ".nfs-operator"))
	if err = errors.Join(err, unix.Unmount(dir, 0)); err != nil {
		t.Fatal(err)
	}
	a.WaitServing(t)
	got, err := h.Controller(t).GetVolume(within(t, 60*time.Second), &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Name{Name: "pvc-1"}})
	if err != nil || got.GetId() != volume {
		t.Errorf("volume %v, %v", got, err)
	}
	a.Stop(t)
}

func setHead(t *testing.T, device, text string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY|os.O_SYNC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

// sectorsWritten is how many sectors the kernel has written to a device since its start.
func sectorsWritten(t *testing.T, device string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("/sys/class/block", filepath.Base(device), "stat"))
	fields := strings.Fields(string(text)) // Documentation/block/stat.rst
	if err != nil || len(fields) < 7 {
		t.Fatalf("%q, %v", text, err)
	}
	return fields[6]
}

func TestACleanStopUnmountsAndADiskServesAgain(t *testing.T) {
	h, a := serving(t)
	v := create(t, h.Controller(t), "pvc-kept", 16*mib)
	before, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if took := a.Stop(t); took > 30*time.Second {
		t.Errorf("stopping took %s", took)
	}
	if _, err := os.Stat(filepath.Join(h.DataDir(), "volumes")); err == nil {
		t.Error("the disk is still mounted")
	}
	h.Start(t, h.Config(host.DiskLarge)).WaitServing(t)
	after, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if after.GetServerId() != before.GetServerId() || after.GetVolumes() != 1 || after.GetMkfsOptions() != "lts_5.15" || after.GetGaneshaVersion() != "15.2" {
		t.Errorf("status %v, before %v", after, before)
	}
	got, err := h.Controller(t).GetVolume(within(t, 60*time.Second), &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Name{Name: "pvc-kept"}})
	if err != nil || got.GetId() != v.GetId() {
		t.Errorf("volume %v, %v", got, err)
	}
}

// Of linux's xfs_fs.h, and ext4's: as if a write of the log had failed.
const (
	ioctlGoingDown = 0x8004587d
	noLogFlush     = 2
)

func shutDown(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close() // it could not be unmounted
	how := uint32(noLogFlush)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, d.Fd(), ioctlGoingDown, uintptr(unsafe.Pointer(&how))); errno != 0 {
		t.Fatal(errno)
	}
}
