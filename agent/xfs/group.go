package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
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
func (*Filesystem) SetGroup(ctx context.Context, tree string, gid uint32) error {
	root, err := os.OpenFile(tree, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	g := grouper{gid: int(gid)}
	g.later.begin(root, nil)
	defer g.later.close()
	for {
		d, err := g.later.next()
		if d == nil {
			return groupOf(root, g.gid)
		}
		if err == nil {
			err = g.tree(ctx, d)
		}
		if err != nil && !g.later.gone(err) {
			return err
		}
	}
}

// grouper gives one tree to a group.
type grouper struct {
	gid   int
	later later
}

// tree gives all that lies in a directory to the group, and then the directory, unless it is the root. It closes the directory.
func (g *grouper) tree(ctx context.Context, d *directory) error {
	defer func() { _ = d.from.Close() }()
	for {
		entries, err := d.from.ReadDir(256)
		for _, e := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := g.entry(ctx, d, e); err != nil && !g.later.gone(err) {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return d.vanished(err)
		}
	}
	if d.parent == nil {
		return nil
	}
	return d.vanished(groupOf(d.from, g.gid))
}

func (g *grouper) entry(ctx context.Context, parent *directory, e os.DirEntry) (err error) {
	d := parent.below(e.Name())
	if e.IsDir() {
		if d.depth > pieceDepth {
			return d.wrap(g.later.add(d))
		}
		if d.from, err = openBeneath(parent.from, d.name, unix.O_DIRECTORY); err != nil {
			return d.vanished(err)
		}
		return g.tree(ctx, d)
	}
	// A path only: what it leads to is neither followed nor opened, whatever the tenant makes of it meanwhile.
	f, err := openBeneath(parent.from, d.name, unix.O_PATH)
	if err != nil {
		return d.vanished(err)
	}
	defer func() { _ = f.Close() }()
	return d.vanished(groupOf(f, g.gid))
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
