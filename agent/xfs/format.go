package xfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MinDeviceBytes is the smallest device that is formatted.
const MinDeviceBytes = 1 << 30

// ErrDeviceTooSmall is returned for devices below MinDeviceBytes.
var ErrDeviceTooSmall = errors.New("device is smaller than 1 GiB")

const optionsDir = "/usr/share/xfsprogs/mkfs"

// A new mkfs.xfs makes file systems that older kernels cannot mount, and a disk may move to an older node. These sets of
// features come with xfsprogs; the first that is there is used, so the newest kernel that is ever needed is 5.15.
var optionSets = []string{"lts_5.15", "lts_5.10", "lts_5.4", "lts_4.19"}

// Format makes a file system of ours, with reflink. It returns the name of the option set that it used. Only for a device that
// Inspect called Blank, or, with overwrite, Unfinished.
func Format(ctx context.Context, device string, overwrite bool) (string, error) {
	size, err := Size(device)
	if err != nil {
		return "", err
	}
	if size < MinDeviceBytes {
		return "", fmt.Errorf("%w: it has %d bytes", ErrDeviceTooSmall, size)
	}
	set, file, err := optionSet()
	if err != nil {
		return "", err
	}
	// -K: no discard of the whole device. The disk is blank, so there is nothing to give back, and on a large one, or one that
	// does it in small pieces, this takes minutes.
	args := []string{"-q", "-K", "-c", "options=" + file, "-L", Label}
	if overwrite {
		args = append(args, "-f")
	}
	out, err := exec.CommandContext(ctx, "mkfs.xfs", append(args, device)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("mkfs.xfs: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return set, nil
}

func optionSet() (name, file string, err error) {
	for _, name := range optionSets {
		file := filepath.Join(optionsDir, name+".conf")
		if _, err := os.Stat(file); err == nil {
			return name, file, nil
		}
	}
	return "", "", fmt.Errorf("no usable option set of mkfs.xfs in %s", optionsDir)
}

const (
	// wsync: NFS promises that an answered create, rename or mkdir survives a power cut, and Ganesha does not sync them.
	mountData  = "prjquota,wsync"
	mountFlags = unix.MS_NODEV | unix.MS_NOSUID | unix.MS_NOEXEC | unix.MS_NOATIME
)

// Mount mounts the device on dir. If it is mounted there already, by an agent that was killed, that mount is used: a second
// one of the same device would only share its superblock. If that one has shut down, it is unmounted first: its log is read at the mount.
func Mount(device, dir string) error {
	_, err := mount(device, dir, mountFlags, mountData)
	return err
}

// Look mounts the device on dir as it lies there, for as long as look takes: read-only, and without a replay of its log, so that nothing is
// written to it. What only the log has is not seen. If it is mounted there already, look sees that.
func Look(device, dir string, look func() error) error {
	mounted, err := mount(device, dir, mountFlags|unix.MS_RDONLY, "norecovery")
	if err != nil {
		return err
	}
	err = look()
	if mounted {
		err = errors.Join(err, Unmount(dir))
	}
	return err
}

// mount tells whether it has mounted the device, or found it mounted.
func mount(device, dir string, flags uintptr, data string) (mounted bool, err error) {
	if CheckRunning(dir) != nil {
		if err := Unmount(dir); err != nil {
			return false, err
		}
	}
	if already, err := mountedOn(device, dir); err != nil || already {
		return false, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, fmt.Errorf("make mount point: %w", err)
	}
	if err := unix.Mount(device, dir, "xfs", flags, data); err != nil {
		return false, fmt.Errorf("mount %s: %w", device, err)
	}
	return true, nil
}

func mountedOn(device, dir string) (bool, error) {
	var dev, root, parent unix.Stat_t
	if err := unix.Stat(device, &dev); err != nil {
		return false, fmt.Errorf("find device: %w", err)
	}
	if err := unix.Stat(dir, &root); errors.Is(err, unix.ENOENT) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look at mount point: %w", err)
	}
	if err := unix.Stat(filepath.Dir(filepath.Clean(dir)), &parent); err != nil {
		return false, fmt.Errorf("look at mount point: %w", err)
	}
	return root.Dev == dev.Rdev && parent.Dev != root.Dev, nil
}

// Unmount ends what Mount began.
func Unmount(dir string) error {
	if err := unix.Unmount(dir, 0); err != nil {
		return fmt.Errorf("unmount %s: %w", dir, err)
	}
	return nil
}
