package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// Make makes a file system on a device: mkfs is the program with its options.
func Make(tb testing.TB, device string, mkfs ...string) {
	tb.Helper()
	Wipe(tb, device)
	if out, err := exec.Command(mkfs[0], append(mkfs[1:], device)...).CombinedOutput(); err != nil {
		tb.Fatalf("%v: %v: %s", mkfs, err, out)
	}
}

// MountData mounts a device where agents have their data, as a kubelet does for a claim with volumeMode Filesystem, until the end of the
// test. A mount from before is taken away.
func (h *Host) MountData(tb testing.TB, device, fstype, options string) {
	tb.Helper()
	h.UnmountData(tb)
	if err := os.MkdirAll(h.DataDir(), 0o700); err != nil {
		tb.Fatal(err)
	}
	var flags uintptr
	switch options {
	case "dirsync":
		flags, options = unix.MS_DIRSYNC, ""
	case "ro":
		flags, options = unix.MS_RDONLY, ""
	}
	if err := unix.Mount(device, h.DataDir(), fstype, flags, options); err != nil {
		tb.Fatalf("mount %s with %q: %v", device, options, err)
	}
	tb.Cleanup(func() { _ = unix.Unmount(h.DataDir(), 0) })
}

// UnmountData ends what MountData began.
func (h *Host) UnmountData(tb testing.TB) {
	tb.Helper()
	if err := unix.Unmount(h.DataDir(), 0); err != nil && err != unix.EINVAL && err != unix.ENOENT {
		tb.Fatal(err)
	}
}

// HideDevices leaves agents without devices, and with a /dev where none can be opened, as a container is that was given none.
func (h *Host) HideDevices(tb testing.TB) {
	tb.Helper()
	dev := h.Path("/dev")
	if err := unix.Mount("tmpfs", dev, "tmpfs", unix.MS_NODEV, ""); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = unix.Unmount(dev, unix.MNT_DETACH) })
	for _, name := range []string{"null", "zero", "urandom", "random"} {
		path := filepath.Join(dev, name)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			tb.Fatal(err)
		}
		if err := unix.Mount(filepath.Join("/dev", name), path, "", unix.MS_BIND, ""); err != nil {
			tb.Fatal(err)
		}
	}
}
