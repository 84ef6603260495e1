package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// CopyTree makes a copy of a directory that shares all data with it, charged to a project without a limit. The target must not
// exist. Kept are ownership, modes, times, extended attributes, ACLs, hard links, holes, symbolic links, pipes and sockets; no link
// is followed and no mount crossed. Device nodes are left out: nothing behind NFS can use them. Each file is as it was at one
// moment; two files need not be of the same moment. report is called with the number of files copied so far.
func (*Filesystem) CopyTree(ctx context.Context, source, target string, project uint32, report func(files int)) error {
	from, err := os.OpenFile(source, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = from.Close() }()
	if err := os.Mkdir(target, 0o700); err != nil {
		return err
	}
	to, err := os.OpenFile(target, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = to.Close() }()
	if err := setProject(to, project); err != nil { // before the first entry: it is inherited
		return err
	}
	c := copier{root: to, links: map[uint64]string{}, report: report}
	if err := c.directory(ctx, from, to, ""); err != nil {
		return fmt.Errorf("copy %w", err)
	}
	return nil
}

type copier struct {
	root   *os.File
	links  map[uint64]string // inode of a file with several names to the first of them in the copy
	files  int
	report func(int)
}

// directory copies what lies in a directory, and then its own attributes: last, because its entries change its times.
func (c *copier) directory(ctx context.Context, from, to *os.File, relative string) error {
	for {
		entries, err := from.ReadDir(256)
		for _, e := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.entry(ctx, from, to, e.Name(), path.Join(relative, e.Name())); err != nil && !errors.Is(err, errVanished) {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%q: %w", relative, err)
		}
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(from.Fd()), &st); err != nil {
		return fmt.Errorf("%q: %w", relative, err)
	}
	return wrapPath(relative, copyAttributes(from, to, &st))
}

// errVanished is an entry that its owner removed while it was being copied.
var errVanished = errors.New("entry vanished")

func wrapPath(relative string, err error) error {
	if err != nil {
		return fmt.Errorf("%q: %w", relative, err)
	}
	return nil
}

func (c *copier) entry(ctx context.Context, from, to *os.File, name, relative string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
		return errVanished
	} else if err != nil {
		return wrapPath(relative, err)
	}
	c.files++
	c.report(c.files)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subdirectory(ctx, from, to, name, relative)
	case unix.S_IFREG:
		return wrapPath(relative, c.file(from, to, name, relative, &st))
	case unix.S_IFLNK:
		return wrapPath(relative, copySymlink(from, to, name, &st))
	case unix.S_IFIFO, unix.S_IFSOCK:
		if err := unix.Mknodat(int(to.Fd()), name, st.Mode, 0); err != nil {
			return wrapPath(relative, err)
		}
		return wrapPath(relative, ownByName(to, name, &st, true))
	default:
		return nil
	}
}

func (c *copier) subdirectory(ctx context.Context, from, to *os.File, name, relative string) error {
	source, err := openBeneath(from, name, unix.O_DIRECTORY)
	if err != nil {
		return vanished(relative, err)
	}
	defer func() { _ = source.Close() }()
	if err := unix.Mkdirat(int(to.Fd()), name, 0o700); err != nil {
		return wrapPath(relative, err)
	}
	target, err := openBeneath(to, name, unix.O_DIRECTORY)
	if err != nil {
		return wrapPath(relative, err)
	}
	defer func() { _ = target.Close() }()
	return c.directory(ctx, source, target, relative)
}

func vanished(relative string, err error) error {
	if errors.Is(err, unix.ENOENT) {
		return errVanished
	}
	return wrapPath(relative, err)
}

func (c *copier) file(from, to *os.File, name, relative string, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		if first, ok := c.links[st.Ino]; ok {
			return c.link(first, to, name)
		}
		c.links[st.Ino] = relative
	}
	// Not blocking, for the case that it has become a pipe since it was looked at.
	source, err := openBeneath(from, name, unix.O_NONBLOCK)
	if errors.Is(err, unix.ENOENT) {
		delete(c.links, st.Ino)
		return errVanished
	}
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	fd, err := unix.Openat(int(to.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	target := os.NewFile(uintptr(fd), name)
	defer func() { _ = target.Close() }()
	if err := unix.IoctlFileClone(fd, int(source.Fd())); err != nil {
		return fmt.Errorf("clone: %w", err)
	}
	return copyAttributes(source, target, st)
}

// link opens the directories of the first name one by one: a path of a deep tree is longer than one call may take.
func (c *copier) link(first string, to *os.File, name string) error {
	dir := c.root
	parts := strings.Split(first, "/")
	for _, part := range parts[:len(parts)-1] {
		next, err := openBeneath(dir, part, unix.O_DIRECTORY)
		if dir != c.root {
			_ = dir.Close()
		}
		if err != nil {
			return err
		}
		dir = next
	}
	if dir != c.root {
		defer func() { _ = dir.Close() }()
	}
	return unix.Linkat(int(dir.Fd()), parts[len(parts)-1], int(to.Fd()), name, 0)
}

func copySymlink(from, to *os.File, name string, st *unix.Stat_t) error {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, text)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(string(text[:n]), int(to.Fd()), name); err != nil {
		return err
	}
	return ownByName(to, name, st, false)
}

// ownByName gives an entry that cannot be opened its owner, mode and times.
func ownByName(dir *os.File, name string, st *unix.Stat_t, mode bool) error {
	if err := unix.Fchownat(int(dir.Fd()), name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if mode {
		if err := unix.Fchmodat(int(dir.Fd()), name, st.Mode&0o7777, 0); err != nil { // it is no link: we have just made it
			return err
		}
	}
	return unix.UtimesNanoAt(int(dir.Fd()), name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
