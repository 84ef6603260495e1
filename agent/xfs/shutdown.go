package xfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// ErrShutDown is returned for a mounted file system that takes nothing more until it is mounted anew: XFS shuts down, and ext4 shuts down or
// becomes read-only, when its log or its metadata cannot be written, or are damaged.
var ErrShutDown = errors.New("the file system has shut down")

// ErrReadOnly is returned for a file system that somebody has mounted read-only.
var ErrReadOnly = errors.New("the file system is mounted read-only")

// CheckWritable returns ErrReadOnly where what is mounted on a directory is read-only because somebody has asked for that, and not because
// of an error, of which CheckRunning tells. Other errors say nothing about that.
func CheckWritable(dir string) error {
	info, err := mountAt(dir)
	if err == nil && askedReadOnly(info, "/sys") {
		err = fmt.Errorf("%w: %s", ErrReadOnly, dir)
	}
	return err
}

// askedReadOnly: the mount's own options do not tell alone. A container's runtime takes "ro" off them, and leaves it to the file system. Of
// those that are served, ext4 alone becomes read-only by itself, and it counts its errors.
func askedReadOnly(info *mountinfo.Info, sys string) bool {
	has := func(options string) bool { return slices.Contains(strings.Split(options, ","), "ro") }
	return has(info.Options) || has(info.VFSOptions) && (info.FSType != "ext4" || !ext4HasErrors(info, sys))
}

// ext4HasErrors is also true where that cannot be known.
func ext4HasErrors(info *mountinfo.Info, sys string) bool {
	device, err := filepath.EvalSymlinks(filepath.Join(sys, "dev/block", fmt.Sprintf("%d:%d", info.Major, info.Minor)))
	if err != nil {
		return true
	}
	count, err := os.ReadFile(filepath.Join(sys, "fs/ext4", filepath.Base(device), "errors_count"))
	return err != nil || strings.TrimSpace(string(count)) != "0"
}

// CheckRunning returns ErrShutDown where a file (opened for writing, and not written to) or directory of a mounted file system says that it
// has shut down. Other errors say nothing about that, and are none here. The kernel answers from its memory: a disk that
// is away is noticed when the file system has noticed it.
func CheckRunning(path string) error {
	err := tryOpen(path, unix.O_RDWR)
	if errors.Is(err, unix.EISDIR) {
		err = tryOpen(path, unix.O_RDONLY)
	}
	return shutDown(path, err)
}

func shutDown(path string, err error) error {
	if slices.ContainsFunc([]unix.Errno{unix.EIO, unix.ESHUTDOWN, unix.EUCLEAN, unix.EROFS}, func(e unix.Errno) bool { return errors.Is(err, e) }) {
		return fmt.Errorf("%w: open %s: %w", ErrShutDown, path, err)
	}
	return nil
}

func tryOpen(path string, how int) error {
	fd, err := unix.Open(path, how|unix.O_CLOEXEC|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err == nil {
		err = unix.Close(fd)
	}
	return err
}
