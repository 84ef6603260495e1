package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// copyThreads make files at the same time. Each change of a directory or a file waits for the log to reach the disk (wsync), and
	// those that wait together share one write of it.
	copyThreads = 16
	// copyNice is how much less than others those threads get of the processors: calls are answered meanwhile.
	copyNice = 10
)

// CopyTree makes a copy of a directory that shares all data with it, charged to a project without a limit, or to none (0). The target
// must not exist. Kept are ownership, modes, times, extended attributes, ACLs, hard links, holes, symbolic links, pipes and sockets; no link
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
	c := copier{target: to, links: map[inode]entry{}, report: report, fail: cancel, work: make(chan func())}
	c.later.begin(from, to)
	defer c.later.close()
	var workers sync.WaitGroup
	for range copyThreads {
		workers.Go(func() {
			_ = unmasked(func() error {
				_ = unix.Setpriority(unix.PRIO_PROCESS, 0, copyNice) // of this thread, which ends with the work
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
	target *os.File
	links  map[inode]entry // of a file with several names to the latest of them in the copy
	later  later           // made but not filled
	files  int
	report func(int)
	work   chan func()
	fail   context.CancelCauseFunc // with the first error of a worker
}

// inode is a file. Its number alone may be another file's a moment later.
type inode struct {
	number uint64
	born   unix.StatxTimestamp
}

// entry is a name in a directory.
type entry struct {
	in   *directory
	name string
}

// walk copies everything: what is not too deep in one go, the rest piece by piece.
func (c *copier) walk(ctx context.Context) error {
	for {
		d, err := c.later.next()
		if d == nil {
			return nil
		}
		if err == nil {
			err = c.fill(ctx, d)
		}
		if err != nil && !c.later.gone(err) {
			return err
		}
	}
}

// fill copies what lies in a directory. Its own attributes are left to a worker, and so is closing it.
func (c *copier) fill(ctx context.Context, d *directory) error {
	err := c.entries(ctx, d)
	if err == nil {
		err = c.hand(ctx, func() {
			defer d.close()
			if err := c.finish(d); err != nil {
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

func (c *copier) finish(d *directory) error {
	d.pending.Wait()
	var st unix.Stat_t
	if err := unix.Fstat(int(d.from.Fd()), &st); c.later.gone(err) {
		st = d.seen
	} else if err != nil {
		return d.wrap(err)
	}
	if err := setOwnerAndMode(d.to, st.Uid, st.Gid, st.Mode&0o7777); err != nil {
		return d.wrap(err)
	}
	err := copyAttributes(d.from, d.to, &st)
	if c.later.gone(err) {
		err = setTimes(int(d.to.Fd()), &st)
	}
	return d.wrap(err)
}

func (c *copier) entries(ctx context.Context, d *directory) error {
	for {
		entries, err := d.from.ReadDir(256)
		for _, e := range entries {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err := c.entry(ctx, d, e.Name()); err != nil && !c.later.gone(err) {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ENOENT) || c.later.gone(err) { // all, or removed while it was read
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
		return c.subdirectory(ctx, d, name, &st)
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

func (c *copier) subdirectory(ctx context.Context, parent *directory, name string, st *unix.Stat_t) (err error) {
	d := parent.below(name)
	d.seen = *st
	if d.depth > pieceDepth {
		if err := unix.Mkdirat(int(parent.to.Fd()), name, 0o700); err != nil {
			return parent.wrap(err, name)
		}
		return d.wrap(c.later.add(d))
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

// regular leaves a file with one name to a worker. One with several is made here: the others must find one of them.
func (c *copier) regular(ctx context.Context, d *directory, name string, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		file, err := inodeOf(d.from, name)
		if err != nil {
			return d.vanished(err)
		}
		if made, ok := c.links[file]; ok {
			err = c.link(made, d, name)
		} else {
			err = copyFile(d.from, d.to, name, file.number)
		}
		if err == nil {
			c.links[file] = entry{d, name} // the latest: most often, the next lies in the same directory
		}
		return d.wrap(err, name)
	}
	d.pending.Add(1)
	err := c.hand(ctx, func() {
		defer d.pending.Done()
		if err := copyFile(d.from, d.to, name, st.Ino); err != nil && !c.later.gone(err) {
			c.fail(d.wrap(err, name))
		}
	})
	if err != nil {
		d.pending.Done()
	}
	return err
}

func inodeOf(dir *os.File, name string) (inode, error) {
	var st unix.Statx_t
	err := unix.Statx(int(dir.Fd()), name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_INO|unix.STATX_BTIME, &st)
	return inode{st.Ino, st.Btime}, err
}

func copyFile(from, to *os.File, name string, inode uint64) (err error) {
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
	defer func() {
		_ = target.Close()
		if errors.Is(err, unix.ESTALE) { // removed before it was copied as a whole
			_ = unix.Unlinkat(int(to.Fd()), name, 0)
		}
	}()
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
func (c *copier) link(made entry, to *directory, name string) error {
	if made.in == to {
		return unix.Linkat(int(to.to.Fd()), made.name, int(to.to.Fd()), name, 0)
	}
	dir, err := descend(c.target, made.in.names(nil))
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	return unix.Linkat(int(dir.Fd()), made.name, int(to.to.Fd()), name, 0)
}

func copySymlink(from, to *os.File, name string, st *unix.Stat_t) error {
	text := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(from.Fd()), name, text)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) { // removed, or no link any more
		return errVanished
	}
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
