package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strconv"

	"golang.org/x/sys/unix"
)

// What a group gets, as a kubelet does it for a pod's fsGroup: files can be read and written, directories also entered,
// and what is made in them has the group, too.
const (
	groupFile      = 0o060
	groupDirectory = unix.S_ISGID | 0o070
)

// HasGroup reports whether a directory gives a group what SetGroup does. As SetGroup comes to the root of a tree last,
// it has then been everywhere below.
func (*Filesystem) HasGroup(directory string, gid uint32) (bool, error) {
	var st unix.Stat_t
	if err := unix.Lstat(directory, &st); err != nil {
		return false, &os.PathError{Op: "lstat", Path: directory, Err: err}
	}
	return st.Gid == gid && st.Mode&groupDirectory == groupDirectory, nil
}

// SetGroup gives a tree to a group: all that is in it, and last the root. What is right already is left alone, so that a
// tree which is cut off half way goes on where it was. No link is followed and no mount crossed.
func (*Filesystem) SetGroup(ctx context.Context, directory string, gid uint32) error {
	root, err := os.OpenFile(directory, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	return groupTree(ctx, root, "", int(gid))
}

func groupTree(ctx context.Context, dir *os.File, relative string, gid int) error {
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := groupEntry(ctx, dir, e, relative, gid); err != nil && !errors.Is(err, unix.ENOENT) { // its owner has removed it
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
	return wrapPath(relative, groupOf(dir, gid))
}

func groupEntry(ctx context.Context, dir *os.File, e os.DirEntry, parent string, gid int) error {
	relative := path.Join(parent, e.Name())
	if e.IsDir() {
		sub, err := openBeneath(dir, e.Name(), unix.O_DIRECTORY)
		if err != nil {
			return wrapPath(relative, err)
		}
		defer func() { _ = sub.Close() }()
		return groupTree(ctx, sub, relative, gid)
	}
	// A path only: what it leads to is neither followed nor opened, whatever the tenant makes of it meanwhile.
	f, err := openBeneath(dir, e.Name(), unix.O_PATH)
	if err != nil {
		return wrapPath(relative, err)
	}
	defer func() { _ = f.Close() }()
	return wrapPath(relative, groupOf(f, gid))
}

// groupOf gives one open file, or one that is only pointed at, to a group.
func groupOf(f *os.File, gid int) error {
	fd := int(f.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if int(st.Gid) != gid {
		if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
			return fmt.Errorf("set group: %w", err)
		}
	}
	wanted := uint32(groupFile)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil
	case unix.S_IFDIR:
		wanted = groupDirectory
	}
	// Setting a group may have cleared setuid and setgid.
	if int(st.Gid) == gid && st.Mode&wanted == wanted {
		return nil
	}
	if err := unix.Chmod("/proc/self/fd/"+strconv.Itoa(fd), st.Mode&0o7777|wanted); err != nil {
		return fmt.Errorf("set mode: %w", err)
	}
	return nil
}

// wrapPath says which entry an error is about.
func wrapPath(relative string, err error) error {
	if err != nil {
		return fmt.Errorf("%q: %w", relative, err)
	}
	return nil
}
