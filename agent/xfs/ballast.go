package xfs

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// MakeBallast makes a file that holds the given number of bytes of the disk, unless it is there.
func (*Filesystem) MakeBallast(path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err != nil || info.Size() >= bytes {
		return err
	}
	if err := unix.Fallocate(int(f.Fd()), 0, 0, bytes); err != nil {
		return fmt.Errorf("allocate ballast: %w", err)
	}
	return nil
}
