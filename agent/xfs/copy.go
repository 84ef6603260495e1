package xfs

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"os"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// copyThreads make files at the same time. Each change of a directory or a file waits for the log to reach the disk (wsync), and
	// those that wait together share one write of it.
	copyThreads = 16
	// copyNice is how much less than others those threads get of the processors: calls are answered meanwhile.
	copyNice = 10
	// maxReads is how many times a directory is read at most that changes each time.
	maxReads = 10
	// maxLooks is how many times a name is looked at that has become another file's each time.
	maxLooks = 10
)

// CopyTree makes a copy of a directory that shares all data with it, charged to a project, or to none (0). The target
// must not exist. Kept are ownership, modes, times, extended attributes, ACLs, hard links, holes, symbolic links, pipes and sockets; no link
// is followed and no mount crossed. Device nodes are left out: nothing behind NFS can use them; so are the flags of chattr: no client
// can set them. Each file is as it was at one moment; two files need not be of the same moment. report is called, by one goroutine,
// with the number of entries seen so far. A directory that gets another name or place meanwhile is copied once: however its owner moves
// directories about, a copy has no more of them than there are.
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
	c := copier{target: to, links: map[inode]entry{}, copied: map[inode]struct{}{}, report: report, fail: cancel, work: make(chan func())}
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
	links  map[inode]entry    // of a file with several names to the latest of them in the copy
	copied map[inode]struct{} // directories: one that is met again has been moved
	later  later              // made but not filled
	files  int
	report func(int)
	work   chan func()
	fail   context.CancelCauseFunc // with the first error of a worker
}

// inode is a file or directory. Its number alone may be another's a moment later.
type inode struct {
	number uint64
	life   uint64 // when it was born; where nobody says that, a hash of its handle: on an NFS client before Linux 6.16 (nfs_getattr)
}

var handleSeed = maphash.MakeSeed()

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
			err = c.piece(ctx, d)
		}
		if err != nil && !c.later.gone(err) {
			return err
		}
	}
}

// piece fills the root of a piece. It was in its place before, but another directory may be there now.
func (c *copier) piece(ctx context.Context, d *directory) error {
	which, err := inodeOf(d.from)
	if _, again := c.copied[which]; again || err != nil {
		d.close()
		return d.wrap(err)
	}
	c.copied[which] = struct{}{}
	return c.fill(ctx, d)
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

// entries copies all names in a directory. One that gets another while the directory is read may be met under neither: as long as it changes
// it is read again, and what has not been made is made.
func (c *copier) entries(ctx context.Context, d *directory) error {
	for reads := 1; ; reads++ {
		began, err := changed(d.to) // by the same clock as that of the source: they lie in one file system
		if err != nil {
			return d.wrap(err)
		}
		if err := c.names(ctx, d, reads > 1); err != nil {
			return err
		}
		last, err := changed(d.from)
		if c.later.gone(err) || err == nil && last.Before(began) || reads == maxReads {
			return nil
		}
		if err != nil {
			return d.wrap(err)
		}
		// Then everything that is to be made of the former names is there.
		d.pending.Wait()
		err = unix.Fchmod(int(d.to.Fd()), 0o700) // gives it a new time
		if err == nil {
			_, err = d.from.Seek(0, io.SeekStart)
		}
		if err != nil {
			return d.wrap(err)
		}
	}
}

// changed is when a directory got or lost a name, or other attributes.
func changed(dir *os.File) (time.Time, error) {
	var st unix.Stat_t
	err := unix.Fstat(int(dir.Fd()), &st)
	return time.Unix(st.Ctim.Unix()), err
}

// names reads a directory and copies each name, or only those that have no copy yet.
func (c *copier) names(ctx context.Context, d *directory, missing bool) error {
	for {
		names, err := d.from.Readdirnames(256)
		for _, name := range names {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if missing && exists(d.to, name) {
				continue
			}
			if err := c.entry(ctx, d, name); err != nil && !skipped(err) {
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

func exists(dir *os.File, name string) bool {
	var st unix.Stat_t
	return unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
}

// errVanished is an entry that its owner removed, or made another thing of, while it was being copied.
var errVanished = errors.New("entry vanished")

// skipped tells that there is nothing more to do for an entry: it has gone, or its name has a copy. A name that is given up and taken again while
// its directory is read may be read twice.
func skipped(err error) bool { return errors.Is(err, errVanished) || errors.Is(err, unix.EEXIST) }

// entry copies what has a name now, whatever has it a moment later.
func (c *copier) entry(ctx context.Context, d *directory, name string) error {
	counted := false
	return c.latest(d, name, func(found *os.File) error {
		var st unix.Stat_t
		if err := unix.Fstat(int(found.Fd()), &st); err != nil {
			_ = found.Close()
			return d.wrap(err, name)
		}
		if !counted {
			counted = true
			c.files++
			c.report(c.files)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFDIR:
			return c.subdirectory(ctx, d, found, &st)
		case unix.S_IFREG:
			return c.regular(ctx, d, found, &st)
		}
		defer func() { _ = found.Close() }()
		return d.wrap(copySpecial(found, d.to, &st), name)
	})
}

// latest does something with what has a name: an open path, which do closes. It stays what it is when the name becomes another's; only an
// NFS client may find that it is no more (ESTALE), and then looks who has the name now.
func (c *copier) latest(d *directory, name string, do func(found *os.File) error) error {
	for range maxLooks {
		found, err := openBeneath(d.from, name, unix.O_PATH)
		if errors.Is(err, unix.ENOENT) {
			return errVanished
		}
		if err == nil {
			err = do(found)
		} else {
			err = d.wrap(err, name)
		}
		if !c.later.gone(err) {
			return err
		}
		if _, err := changed(d.from); err != nil { // not the entry alone
			return errVanished
		}
	}
	return d.wrap(fmt.Errorf("became another file %d times while it was being copied", maxLooks), name)
}

func (c *copier) subdirectory(ctx context.Context, parent *directory, found *os.File, st *unix.Stat_t) (err error) {
	name := found.Name()
	d := parent.below(name)
	d.seen = *st
	which, err := inodeOf(found)
	if _, again := c.copied[which]; again || err != nil {
		_ = found.Close()
		return d.wrap(err)
	}
	if d.depth > pieceDepth {
		_ = found.Close()
		if err := unix.Mkdirat(int(parent.to.Fd()), name, 0o700); err != nil {
			return d.wrap(err)
		}
		return d.wrap(c.later.add(d))
	}
	d.from, err = openBeneath(found, ".", unix.O_DIRECTORY)
	_ = found.Close()
	if err != nil {
		return d.vanished(err)
	}
	if err = unix.Mkdirat(int(parent.to.Fd()), name, 0o700); err == nil {
		d.to, err = openBeneath(parent.to, name, unix.O_DIRECTORY)
	}
	if err != nil {
		_ = d.from.Close()
		return d.wrap(err)
	}
	c.copied[which] = struct{}{}
	return c.fill(ctx, d)
}

// regular leaves a file with one name to a worker. One with several is made here: the others must find one of them.
func (c *copier) regular(ctx context.Context, d *directory, found *os.File, st *unix.Stat_t) error {
	if st.Nlink > 1 {
		defer func() { _ = found.Close() }()
		return d.wrap(c.linked(d, found), found.Name())
	}
	d.pending.Add(1)
	err := c.hand(ctx, func() {
		defer d.pending.Done()
		if err := c.single(d, found); err != nil && !skipped(err) {
			c.fail(err)
		}
	})
	if err != nil {
		_ = found.Close()
		d.pending.Done()
	}
	return err
}

func (c *copier) linked(d *directory, found *os.File) error {
	file, err := inodeOf(found)
	if err != nil {
		return err
	}
	if made, ok := c.links[file]; ok {
		err = c.link(made, d, found.Name())
	} else {
		err = copyFile(found, d.to)
	}
	if err == nil {
		c.links[file] = entry{d, found.Name()} // the latest: most often, the next lies in the same directory
	}
	return err
}

func (c *copier) single(d *directory, found *os.File) error {
	err := copyFile(found, d.to)
	_ = found.Close()
	if !c.later.gone(err) {
		return d.wrap(err, found.Name())
	}
	return c.latest(d, found.Name(), func(found *os.File) error {
		defer func() { _ = found.Close() }()
		return d.wrap(copyFile(found, d.to), found.Name())
	})
}

func inodeOf(found *os.File) (inode, error) {
	var st unix.Statx_t
	if err := unix.Statx(int(found.Fd()), "", unix.AT_EMPTY_PATH, unix.STATX_INO|unix.STATX_BTIME, &st); err != nil {
		return inode{}, err
	}
	if st.Mask&unix.STATX_BTIME != 0 {
		return inode{st.Ino, uint64(st.Btime.Sec)*uint64(time.Second) + uint64(st.Btime.Nsec)}, nil
	}
	handle, _, err := unix.NameToHandleAt(int(found.Fd()), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return inode{}, fmt.Errorf("name_to_handle_at: %w", err)
	}
	return inode{st.Ino, maphash.Bytes(handleSeed, handle.Bytes())}, nil
}

// copyFile gives a directory a copy of a plain file.
func copyFile(found, to *os.File) (err error) {
	source, err := os.OpenFile("/proc/self/fd/"+strconv.Itoa(int(found.Fd())), unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer func() { _ = source.Close() }()
	var st unix.Stat_t
	if err := unix.Fstat(int(source.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return errors.New("is no plain file any more")
	}
	name := found.Name()
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

// copySpecial copies what is neither a directory nor a plain file; but no device.
func copySpecial(found, to *os.File, st *unix.Stat_t) error {
	name := found.Name()
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		text := make([]byte, unix.PathMax)
		n, err := unix.Readlinkat(int(found.Fd()), "", text)
		if err != nil {
			return err
		}
		if err := unix.Symlinkat(string(text[:n]), int(to.Fd()), name); err != nil {
			return err
		}
		return ownByName(to, name, st, false)
	case unix.S_IFIFO, unix.S_IFSOCK:
		if err := unix.Mknodat(int(to.Fd()), name, st.Mode, 0); err != nil {
			return err
		}
		return ownByName(to, name, st, true)
	}
	return nil
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
