package xfs

import (
	"errors"
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From the kernel's fs.h; the same on all architectures that we build for.
const (
	getXattr       = 0x801c581f // FS_IOC_FSGETXATTR
	setXattr       = 0x401c5820 // FS_IOC_FSSETXATTR
	flagImmutable  = 0x8
	flagAppend     = 0x10
	inheritProject = 0x200
)

// fileAttributes is struct fsxattr.
type fileAttributes struct {
	Flags, ExtentSize, Extents, Project, CowExtentSize uint32
	Pad                                                [8]byte
}

func ioctlAttributes(f *os.File, request uintptr, a *fileAttributes) error {
	// The kernel uses it during the call
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(a))); errno != 0 {
		return errno
	}
	return nil
}

// setProject charges an empty directory, and all that will come into it, to a project; 0 is none.
func setProject(dir *os.File, project uint32) error {
	if project == 0 {
		return nil
	}
	var a fileAttributes
	if err := ioctlAttributes(dir, getXattr, &a); err != nil {
		return fmt.Errorf("read attributes of %s: %w", dir.Name(), err)
	}
	if a.Project == project && a.Flags&inheritProject != 0 {
		return nil
	}
	a.Project = project
	a.Flags |= inheritProject
	if err := ioctlAttributes(dir, setXattr, &a); err != nil {
		return fmt.Errorf("set project of %s: %w", dir.Name(), err)
	}
	return nil
}

// Root is how the root directory of a volume begins.
type Root struct {
	Project  uint32 // 0 is none: the file system has no project quota
	Mode     uint32 // permission bits, setuid, setgid, sticky
	UID, GID uint32
}

// MakeRoot makes an empty directory that is charged to a project. What a killed call left at the path is used again.
func (*Filesystem) MakeRoot(path string, r Root) error {
	// Every change of an attribute waits for the disk (wsync), so the directory begins with as many as it can.
	err := unmasked(func() error { return unix.Mkdir(path, r.Mode&mkdirBits) })
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make %s: %w", path, err)
	}
	dir, err := os.OpenFile(path, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	if err := setProject(dir, r.Project); err != nil {
		return err
	}
	return setOwnerAndMode(dir, r.UID, r.GID, r.Mode)
}
