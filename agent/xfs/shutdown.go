package xfs

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sys/unix"
)

// ErrShutDown is returned for a mounted file system that takes nothing more until it is mounted anew: XFS shuts down, and ext4 shuts down or
// becomes read-only, when its log or its metadata cannot be written, or are damaged.
var ErrShutDown = errors.New("the file system has shut down")

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
