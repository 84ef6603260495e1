package xfs

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// mkdirBits are those that mkdir(2) takes; the kernel drops setuid and setgid.
const mkdirBits = 0o1777

// unmasked does something on a thread whose umask is 0, so that what it makes has its final mode at once.
func unmasked(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		dropMask()
		done <- do()
	}()
	return <-done
}

// dropMask gives the calling thread, which must be locked and is spoiled by it, a umask of its own: 0. Where that is not allowed the
// process's holds, and modes are corrected afterwards.
func dropMask() {
	if unix.Unshare(unix.CLONE_FS) == nil {
		unix.Umask(0)
	}
}

// setOwnerAndMode changes only what is not so yet. With wsync each change waits for the disk.
func setOwnerAndMode(f *os.File, uid, gid, mode uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("look at %s: %w", f.Name(), err)
	}
	if st.Uid != uid || st.Gid != gid {
		if err := unix.Fchown(int(f.Fd()), int(uid), int(gid)); err != nil {
			return fmt.Errorf("set owner of %s: %w", f.Name(), err)
		}
		if err := unix.Fstat(int(f.Fd()), &st); err != nil { // chown clears setuid and setgid
			return fmt.Errorf("look at %s: %w", f.Name(), err)
		}
	}
	if st.Mode&0o7777 != mode {
		if err := unix.Fchmod(int(f.Fd()), mode); err != nil {
			return fmt.Errorf("set mode of %s: %w", f.Name(), err)
		}
	}
	return nil
}
