package xfs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// copyAttributes makes an open file's extended attributes (ACLs are such) and times those of another. Owner and mode come before: an
// ACL holds the mode's bits for the group.
func copyAttributes(from, to *os.File, st *unix.Stat_t) error {
	if err := copyXattrs(int(from.Fd()), int(to.Fd())); err != nil {
		return err
	}
	if err := setTimes(int(to.Fd()), st); err != nil {
		return fmt.Errorf("set times: %w", err)
	}
	return nil
}

func copyXattrs(from, to int) error {
	names, err := readSized(func(b []byte) (int, error) { return unix.Flistxattr(from, b) })
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list attributes: %w", err)
	}
	if len(names) == 0 {
		return nil
	}
	for name := range strings.SplitSeq(string(bytes.TrimRight(names, "\x00")), "\x00") {
		value, err := readSized(func(b []byte) (int, error) { return unix.Fgetxattr(from, name, b) })
		if errors.Is(err, unix.ENODATA) {
			continue
		}
		if err == nil {
			err = unix.Fsetxattr(to, name, value, 0)
		}
		if err != nil && !optional(name) {
			return fmt.Errorf("copy attribute %s: %w", name, err)
		}
	}
	return nil
}

// optional attributes belong to the kernel of the server (SELinux labels, trusted.*), which may refuse them.
func optional(name string) bool {
	return !strings.HasPrefix(name, "user.") && !strings.HasPrefix(name, "system.posix_acl_")
}

// readSized asks for the size first, and again if it has grown meanwhile.
func readSized(read func([]byte) (int, error)) ([]byte, error) {
	for {
		size, err := read(nil)
		if err != nil || size == 0 {
			return nil, err
		}
		b := make([]byte, size)
		n, err := read(b)
		if errors.Is(err, unix.ERANGE) {
			continue
		}
		return b[:max(n, 0)], err
	}
}

// setTimes is futimens(3), which the syscall packages do not have: utimensat(2) on the descriptor itself.
func setTimes(fd int, st *unix.Stat_t) error {
	times := [2]unix.Timespec{st.Atim, st.Mtim}
	// The kernel reads it during the call
	if _, _, errno := unix.Syscall6(unix.SYS_UTIMENSAT, uintptr(fd), 0, uintptr(unsafe.Pointer(&times)), 0, 0, 0); errno != 0 {
		return errno
	}
	return nil
}
