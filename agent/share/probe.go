package share

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

// Ids that no server maps to themselves by accident.
const (
	probeUID   = 1_234_321
	probeGID   = 1_234_322
	probeBytes = 4096
	probeXattr = "user.nfs-operator"
)

// probe finds out what the share can do, by trying. What volumes need in any case is an error.
func (s *Share) probe(l store.Layout) error {
	dir := l.Meta("probe")
	never := func(context.Context) error { return nil }
	var tree *xfs.Filesystem
	if err := tree.RemoveTree(context.Background(), filepath.Dir(dir), filepath.Base(dir), never); err != nil {
		return failed(fmt.Errorf("remove what an agent has left: %w", err))
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return failed(fmt.Errorf("make a directory on the share: %w", err))
	}
	err := s.try(dir)
	return errors.Join(err, tree.RemoveTree(context.Background(), filepath.Dir(dir), filepath.Base(dir), never))
}

func (s *Share) try(dir string) error {
	f, err := os.OpenFile(filepath.Join(dir, "a"), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return failed(fmt.Errorf("make a file on the share: %w", err))
	}
	defer func() { _ = f.Close() }()
	if err := tryOwner(f); err != nil {
		return err
	}
	if s.Xattrs, err = able(unix.Fsetxattr(int(f.Fd()), probeXattr, []byte("1"), 0)); err != nil {
		return failed(fmt.Errorf("try extended attributes: %w", err))
	}
	if s.Reflink, err = tryClone(f, filepath.Join(dir, "b")); err != nil {
		return failed(fmt.Errorf("try to clone a file: %w", err))
	}
	return nil
}

// tryOwner gives a file away, as volumes are given to their users.
func tryOwner(f *os.File) error {
	err := f.Chown(probeUID, probeGID)
	if errors.Is(err, os.ErrPermission) {
		return squashed(err)
	}
	if err != nil && !errors.Is(err, unix.EINVAL) {
		return failed(fmt.Errorf("give a file on the share to a user: %w", err))
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return failed(err)
	}
	if err != nil || st.Uid != probeUID || st.Gid != probeGID {
		return Error{agentv1.ReasonShareIDMapping, fmt.Errorf("a file given to user %d and group %d belongs to %d and %d afterwards (%v): the server maps names of users, "+
			"and must take their numbers instead (for a Linux server: nfsd's parameter nfs4_disable_idmapping)", probeUID, probeGID, st.Uid, st.Gid, err)}
	}
	return nil
}

func tryClone(from *os.File, to string) (bool, error) {
	text := bytes.Repeat([]byte("clone"), probeBytes/5+1)[:probeBytes]
	if _, err := from.WriteAt(text, 0); err != nil {
		return false, err
	}
	if err := from.Sync(); err != nil {
		return false, err
	}
	f, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return false, err
	}
	defer func() { _ = f.Close() }()
	can, err := able(unix.IoctlFileClone(int(f.Fd()), int(from.Fd())))
	if !can || err != nil {
		return false, err
	}
	got := make([]byte, probeBytes)
	if _, err := f.ReadAt(got, 0); err != nil {
		return false, err
	}
	return bytes.Equal(got, text), nil
}

// able tells a server that cannot from a call that has failed.
func able(err error) (bool, error) {
	for _, cannot := range []unix.Errno{unix.EOPNOTSUPP, unix.ENOSYS, unix.ENOTTY, unix.EINVAL, unix.EXDEV, unix.EPERM, unix.EACCES} {
		if errors.Is(err, cannot) {
			return false, nil
		}
	}
	return err == nil, err
}
