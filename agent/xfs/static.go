package xfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	staticMode       = 0o777 // what users may do in it, its clients decide
	staticParentMode = 0o711
)

// ErrOccupied means that a directory holds data that are charged to nothing.
var ErrOccupied = errors.New("directory holds data that no quota counts; move them away, and back when the export is there")

// MakeStatic makes the directory of a static export below root, with those above it, and charges it to a project: the one that it
// is charged to already, else a new one. Nothing on the way may be a symbolic link or another file system: whoever has written
// there before may have planted one.
func (*Filesystem) MakeStatic(root, path string, newProject func() (uint32, error)) (project uint32, err error) {
	if !filepath.IsLocal(path) {
		return 0, fmt.Errorf("path %q leads out", path)
	}
	dir, err := os.OpenFile(root, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = dir.Close() }()
	elements := strings.Split(path, "/")
	for i, name := range elements {
		mode := uint32(staticParentMode)
		if i == len(elements)-1 {
			mode = staticMode
		}
		next, err := enter(dir, name, mode)
		if err != nil {
			return 0, fmt.Errorf("directory %s of %s: %w", name, path, err)
		}
		_ = dir.Close()
		dir = next
	}
	return charge(dir, newProject)
}

// enter opens a directory, which is made where it is missing.
func enter(dir *os.File, name string, mode uint32) (*os.File, error) {
	// With its final mode at once: a call that is cut off here finds it made, and leaves it as it is, for it may be somebody else's.
	err := unmasked(func() error { return unix.Mkdirat(int(dir.Fd()), name, mode) })
	made := err == nil
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	if made { // where the umask cannot be dropped
		if err := unix.Fchmod(fd, mode); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

func charge(dir *os.File, newProject func() (uint32, error)) (uint32, error) {
	var a fileAttributes
	if err := ioctlAttributes(dir, getXattr, &a); err != nil {
		return 0, fmt.Errorf("read attributes of %s: %w", dir.Name(), err)
	}
	if a.Project != 0 {
		return a.Project, nil
	}
	if _, err := dir.Readdirnames(1); !errors.Is(err, io.EOF) {
		return 0, errors.Join(ErrOccupied, err)
	}
	project, err := newProject()
	if err != nil {
		return 0, err
	}
	return project, setProject(dir, project)
}
