package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// copyThreads make files at the same time. Each change of a directory or a file waits for the log to reach the disk (wsync), and
	// those that wait together share one write of it.
	copyThreads = 16
	// Below this depth a directory is made empty and filled later, from the root again, so that a deep tree does not take two file
	// descriptors for each of its levels.
	maxCopyDepth = 100
)

// CopyTree makes a copy of a directory that shares all data with it, charged to a project without a limit. The target must not
// exist. Kept are ownership, modes, times, extended attributes, ACLs, hard links, holes, symbolic links, pipes and sockets; no link
// is followed and no mount crossed. Device nodes are left out: nothing behind NFS can use them; so are the flags of chattr: no client
// can set them. Each file is as it was at one moment; two files need not be of the same moment. report is called, by one goroutine,
// with the number of entries seen so far.
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
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	c := copier{source: from, target: to, links: map[uint64]string{}, report: report, fail: cancel, work: make(chan func())}
	var workers sync.WaitGroup
	for range copyThreads {
		workers.Go(func() {
			_ = unmasked(func() error {
				for do := range c.work {
					do()
				}
				return nil
			})
		})
	}
	err = unmasked(func() error { return c.walk(ctx) })
	close(c.work)
	workers.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return fmt.Errorf("copy %w", err)
	}
	return nil
}

// copier is one copy. One goroutine walks through the directories and makes all but the plain files; workers make those.
type copier struct {
	source, target *os.File
	links          map[uint64]string // inode of a file with several names to the first of them in the copy
	later          []*directory      // deep ones, made but not filled
	files          int
	report         func(int)
	work           chan func()
	fail           context.CancelCauseFunc // with the first error of a worker
}

// directory is one that is being copied. Its own attributes are set when all its entries are made, for those change its times.
type directory struct {
	parent   *directory // nil for the root
	name     string
	depth    int // how many of its ancestors are open
	from, to *os.File
	pending  sync.WaitGroup // entries that workers make
}

// path is relative to the root of the tree.
func (d *directory) path(elem ...string) string {
	parts := slices.Clone(elem)
	slices.Reverse(parts)
	for ; d.parent != nil; d = d.parent {
		parts = append(parts, d.name)
	}
	slices.Reverse(parts)
	return strings.Join(parts, "/")
}

// wrap says of which entry an error is.
func (d *directory) wrap(err error, elem ...string) error {
	if err != nil {
		return fmt.Errorf("%.1000q: %w", d.path(elem...), err)
	}
	return nil
}

// walk copies everything: what is not too deep in one go, the rest piece by piece.
func (c *copier) walk(ctx context.Context) error {
	c.later = []*directory{{}}
	for len(c.later) > 0 {
		d := c.later[len(c.later)-1]
		c.later = c.later[:len(c.later)-1]
		if err := c.fillLater(ctx, d); err != nil && !errors.Is(err, errVanished) {
			return err
		}
	}
	return nil
}

func (c *copier) fillLater(ctx context.Context, d *directory) (err error) {
	if d.from, err = descend(c.source, d.path()); err != nil {
		return d.vanished(err)
	}
	if d.to, err = descend(c.target, d.path()); err != nil {
		_ = d.from.Close()
		return d.wrap(err)
	}
	return c.fill(ctx, d)
}

// fill copies what lies in a directory. Its own attributes are left to a worker, and so is closing it.
func (c *copier) fill(ctx context.Context, d *directory) error {
	err := c.entries(ctx, d)
	if err == nil {
		err = c.hand(ctx, func() {
			defer d.close()
			if err := d.finish(); err != nil {
				c.fail(err)
			}
		})
	}
	if err != nil {
		d.pending.Wait()
		d.close()
	}
	return err
}

// hand gives work to a worker. Work may wait for work that was handed out before it: that runs already.
func (c *copier) hand(ctx context.Context, do func()) error {
	select {
	case c.work <- do:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (d *directory) finish() error {
	d.pending.Wait()
	var st unix.Stat_t
	if err := unix.Fstat(int(d.from.Fd()), &st); err != nil {
		return d.wrap(err)
	}
	if err := setOwnerAndMode(d.to, st.Uid, st.Gid, st.Mode&0o7777); err != nil {
		return d.wrap(err)
	}
	return d.wrap(copyAttributes(d.from, d.to, &st))
}

func (d *directory) close() {
	_ = d.from.Close()
	_ = d.to.Close()
}

func (c *copier) entries(ctx context.Context, d *directory) error {
	for {
		entries, err := d.from.ReadDir(256)
		for _, e := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.entry(ctx, d, e.Name()); err != nil && !errors.Is(err, errVanished) {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return d.wrap(err)
		}
	}
}

// errVanished is an entry that its owner removed, or made another thing of, while it was being copied.
var errVanished = errors.New("entry vanished")

func (c *copier) entry(ctx context.Context, d *directory, name string) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(d.from.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); errors.Is(err, unix.ENOENT) {
		return errVanished
	} else if err != nil {
		return d.wrap(err, name)
	}
	c.files++
	c.report(c.files)
	var err error
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		return c.subdirectory(ctx, d, name)
	case unix.S_IFREG:
		return c.regular(ctx, d, name, &st)
	case unix.S_IFLNK:
		err = copySymlink(d.from, d.to, name, &st)
	case unix.S_IFIFO, unix.S_IFSOCK:
		if err = unix.Mknodat(int(d.to.Fd()), name, st.Mode, 0); err == nil {
			err = ownByName(d.to, name, &st, true)
		}
	}
	return d.wrap(err, name)
}

func (c *copier) subdirectory(ctx context.Context, parent *directory, name string) (err error) {
	d := &directory{parent: parent, name: name, depth: parent.depth + 1}
	if d.depth > maxCopyDepth {
		d.depth = 0
		c.later = append(c.later, d)
		return parent.wrap(unix.Mkdirat(int(parent.to.Fd()), name, 0o700), name)
	}
	if d.from, err = openBeneath(parent.from, name, unix.O_DIRECTORY); err != nil {
		return d.vanished(err)
	}
	if err = unix.Mkdirat(int(parent.to.Fd()), name, 0o700); err == nil {
		d.to, err = openBeneath(parent.to, name, unix.O_DIRECTORY)
	}
	if err != nil {
		_ = d.from.Close()
		return d.wrap(err)
	}
	return c.fill(ctx, d)
}

// vanished tells what the owner did meanwhile from a fault.
func (d *directory) vanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return errVanished
	}
	return d.wrap(err)
}

// regular leaves a file with one name to a worker. One with several is made here: the others must find the first.
func (c *copier) regular(ctx context.Context, d *directory, name string, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		if first, ok := c.links[st.Ino]; ok {
			return d.wrap(c.link(first, d.to, name), name)
		}
		err := copyFile(d.from, d.to, name, st.Ino)
		if err == nil {
			c.links[st.Ino] = d.path(name)
		}
		return d.wrap(err, name)
	}
	d.pending.Add(1)
	err := c.hand(ctx, func() {
		defer d.pending.Done()
		if err := copyFile(d.from, d.to, name, st.Ino); err != nil && !errors.Is(err, errVanished) {
			c.fail(d.wrap(err, name))
		}
	})
	if err != nil {
		d.pending.Done()
	}
	return err
}

func copyFile(from, to *os.File, name string, inode uint64) error {
	// Not blocking, for the case that it has become a pipe since it was looked at.
	source, err := openBeneath(from, name, unix.O_NONBLOCK)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENXIO) {
		return errVanished
	}
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &st); err != nil {
		return err
	}
	if st.Ino != inode || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errVanished
	}
	// With the final mode at once: see setOwnerAndMode.
	fd, err := unix.Openat(int(to.Fd()), name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, st.Mode&0o7777)
	if err != nil {
		return err
	}
	target := os.NewFile(uintptr(fd), name)
	defer func() { _ = target.Close() }()
	if st.Size > 0 {
		if err := unix.IoctlFileClone(fd, int(source.Fd())); err != nil {
			return fmt.Errorf("clone: %w", err)
		}
	}
	if err := setOwnerAndMode(target, st.Uid, st.Gid, st.Mode&0o7777); err != nil {
		return err
	}
	return copyAttributes(source, target, &st)
}

// link gives a file that is made already another name.
func (c *copier) link(first string, to *os.File, name string) error {
	parent, base := path.Split(first)
	dir, err := descend(c.target, strings.TrimSuffix(parent, "/"))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return unix.Linkat(int(dir.Fd()), base, int(to.Fd()), name, 0)
}

// descend opens the directories of a path one by one: that of a deep tree is longer than one call may take.
func descend(root *os.File, relative string) (*os.File, error) {
	dir, err := openBeneath(root, ".", unix.O_DIRECTORY)
	if err != nil || relative == "" {
		return dir, err
	}
	for part := range strings.SplitSeq(relative, "/") {
		next, err := openBeneath(dir, part, unix.O_DIRECTORY)
		_ = dir.Close()
		if err != nil {
			return nil, err
		}
		dir = next
	}
	return dir, nil
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
