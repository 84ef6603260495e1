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

// Below this depth a directory is moved up before it is emptied, so that a deep tree does not take a file descriptor for
// each of its levels.
const maxDepth = 100

// RemoveTree removes a directory and all below it, and nothing else: it follows no symbolic link and crosses no mount,
// whatever a tenant planted. pace is called before every removal. What cannot be removed is left and reported; the rest goes.
func (*Filesystem) RemoveTree(ctx context.Context, parent, name string, pace func(context.Context) error) error {
	dir, err := os.OpenFile(parent, unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = dir.Close() }()
	r := remover{ctx: ctx, pace: pace, rename: unix.Renameat2}
	for {
		root, err := openBeneath(dir, name, unix.O_DIRECTORY)
		if errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return err
		}
		r.root, r.moved = root, 0
		err = r.empty(root, 0)
		_ = root.Close()
		if err != nil {
			return err
		}
		if r.moved == 0 {
			return r.unlink(dir, name, unix.AT_REMOVEDIR)
		}
	}
}

type remover struct {
	ctx  context.Context //nolint:containedctx // one call's state
	pace func(context.Context) error
	root *os.File
	// rename is renameat2(2).
	rename func(from int, name string, to int, target string, flags uint) error
	moved  int // directories that were moved up in this round
	total  int // names given to them
}

// empty removes what lies in a directory. It goes on after an error and returns the first.
func (r *remover) empty(dir *os.File, depth int) error {
	var first error
	for {
		entries, err := dir.ReadDir(256)
		for _, e := range entries {
			if err := r.remove(dir, e, depth); err != nil && first == nil {
				first = err
			}
			if r.ctx.Err() != nil {
				return r.ctx.Err()
			}
		}
		if errors.Is(err, io.EOF) {
			return first
		}
		if err != nil {
			return errors.Join(first, err)
		}
	}
}

func (r *remover) remove(dir *os.File, e os.DirEntry, depth int) error {
	if !e.IsDir() {
		return r.unlink(dir, e.Name(), 0)
	}
	if depth >= maxDepth {
		return r.moveUp(dir, e.Name())
	}
	sub, err := openBeneath(dir, e.Name(), unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	err = r.empty(sub, depth+1)
	_ = sub.Close()
	if err != nil {
		return err
	}
	return r.unlink(dir, e.Name(), unix.AT_REMOVEDIR)
}

func (r *remover) moveUp(dir *os.File, name string) error {
	for {
		r.total++
		target := ".nfs-operator-deep-" + strconv.Itoa(r.total)
		err := r.moveTo(dir, name, target)
		if errors.Is(err, unix.EEXIST) {
			continue
		}
		if err == nil {
			r.moved++
		}
		return err
	}
}

// moveTo answers EEXIST where something has the name.
func (r *remover) moveTo(dir *os.File, name, target string) error {
	from, root := int(dir.Fd()), int(r.root.Fd())
	err := r.rename(from, name, root, target, unix.RENAME_NOREPLACE)
	if !errors.Is(err, unix.EINVAL) {
		return err
	}
	// NFS has no such rename. What is being removed is out of everybody's sight: nothing gets the name between two calls.
	var st unix.Stat_t
	if err := unix.Fstatat(root, target, &st, unix.AT_SYMLINK_NOFOLLOW); !errors.Is(err, unix.ENOENT) {
		return errors.Join(err, unix.EEXIST)
	}
	return r.rename(from, name, root, target, 0)
}

func (r *remover) unlink(dir *os.File, name string, flags int) error {
	if err := r.pace(r.ctx); err != nil {
		return err
	}
	err := unix.Unlinkat(int(dir.Fd()), name, flags)
	if errors.Is(err, unix.EPERM) && makeMutable(dir, name) == nil {
		err = unix.Unlinkat(int(dir.Fd()), name, flags)
	}
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("remove %q: %w", name, err)
}

// makeMutable takes the immutable and append-only flags off a directory and an entry of it.
func makeMutable(dir *os.File, name string) error {
	if err := clearFlags(dir); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if kind := st.Mode & unix.S_IFMT; kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil // opening a device or a pipe would act on it; only its directory can be immutable
	}
	f, err := openBeneath(dir, name, unix.O_NONBLOCK)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	return clearFlags(f)
}

func clearFlags(f *os.File) error {
	var a fileAttributes
	if err := ioctlAttributes(f, getXattr, &a); err != nil {
		return err
	}
	if a.Flags&(flagImmutable|flagAppend) == 0 {
		return nil
	}
	a.Flags &^= flagImmutable | flagAppend
	return ioctlAttributes(f, setXattr, &a)
}

// openBeneath opens an entry of a directory for reading: no symbolic link, no other file system, nothing outside.
func openBeneath(dir *os.File, name string, flags uint64) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_NOFOLLOW | unix.O_CLOEXEC | flags,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_MAGICLINKS,
	}
	fd, err := unix.Openat2(int(dir.Fd()), name, &how)
	if err != nil {
		return nil, fmt.Errorf("open %q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
