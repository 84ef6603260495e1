package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sync/singleflight"
	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/csi/keylock"
	"github.com/nfs-operator/nfs-operator/csi/mount/child"
)

// afterKill is how long a killed child is waited for. The kernel's NFS client can be killed while it waits for a
// server, with few exceptions.
const afterKill = 2 * time.Second

// Linux is the Mounter of a real node. Each system call that can wait for an NFS server is made by a child process,
// which can be killed: a thread of this process could not.
type Linux struct {
	program string // that becomes the child
	busy    keylock.Set
	usage   singleflight.Group
	// Each statfs on a dead server holds a thread of this process until the server is back.
	usageSlots chan struct{}
}

var _ Mounter = (*Linux)(nil)

// NewLinux makes a Mounter.
func NewLinux() *Linux {
	return &Linux{program: child.Program, usageSlots: make(chan struct{}, 8)}
}

// NFS implements Mounter.
func (l *Linux) NFS(ctx context.Context, m NFS) error {
	return l.run(ctx, child.Request{
		Op: child.NFS, Source: source(m.Address, m.Path), Target: m.Target, Flags: m.Options.Flags, Data: m.Options.Data,
	})
}

// source is what the kernel, like mount.nfs, takes and shows in mountinfo.
func source(address, path string) string {
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address + ":" + path
}

// Bind implements Mounter.
func (l *Linux) Bind(ctx context.Context, source, target string, readOnly bool) error {
	mounts, err := l.Mounts()
	if err != nil {
		return err
	}
	from, ok := At(mounts, source)
	if !ok {
		return fmt.Errorf("bind %s: nothing is mounted there", source)
	}
	r := child.Request{Op: child.Bind, Source: source, Target: target}
	if have, ok := At(mounts, target); ok {
		if have.Device != from.Device {
			return fmt.Errorf("bind %s to %s: %w: something else is mounted there", source, target, ErrBusy)
		}
		r.Op = child.Flag // a child was killed between its two system calls
	}
	if readOnly {
		// A remount sets all flags of the mount, so those that it has must be repeated.
		r.Flags = unix.MS_RDONLY
		for _, option := range from.Options {
			r.Flags |= vfs[option][0]
		}
	}
	return l.run(ctx, r)
}

// Unmount implements Mounter.
func (l *Linux) Unmount(ctx context.Context, target string) error {
	return l.run(ctx, child.Request{Op: child.Unmount, Target: target})
}

// run has a child do the request. It returns at the context's end at the latest (and the little time that a killed
// child is given), but the target stays busy until the child's system call has come back.
func (l *Linux) run(ctx context.Context, r child.Request) error {
	if !l.busy.TryAcquire(r.Target) {
		return fmt.Errorf("%s %s: %w: an earlier system call has not returned", r.Op, r.Target, ErrBusy)
	}
	done := make(chan error, 1)
	go func() {
		defer l.busy.Release(r.Target)
		done <- l.runChild(ctx, r)
	}()
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		select {
		case err = <-done:
		case <-time.After(afterKill):
			err = ErrTimeout
		}
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", r.Op, r.Target, err)
	}
	return nil
}

func (l *Linux) runChild(ctx context.Context, r child.Request) error {
	cmd := exec.CommandContext(ctx, l.program)
	cmd.Args = r.Args()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = []string{"GOMAXPROCS=1"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		return ErrTimeout
	}
	errno, parseErr := strconv.Atoi(stdout.String())
	if err != nil || parseErr != nil {
		return fmt.Errorf("child: %w: %s", errors.Join(err, parseErr), bytes.TrimSpace(stderr.Bytes()))
	}
	if errno != 0 {
		return syscall.Errno(errno)
	}
	return nil
}

// Mounts implements Mounter.
func (l *Linux) Mounts() ([]Mount, error) {
	infos, err := mountinfo.GetMounts(nil)
	if err != nil {
		return nil, fmt.Errorf("read mounts: %w", err)
	}
	mounts := make([]Mount, 0, len(infos))
	for _, i := range infos {
		mounts = append(mounts, Mount{
			Source: i.Source, Target: i.Mountpoint, FSType: i.FSType, Root: i.Root,
			Options: strings.Split(i.Options, ","), Device: fmt.Sprintf("%d:%d", i.Major, i.Minor),
		})
	}
	return mounts, nil
}

// Usage implements Mounter. A call for a path for which an earlier one still waits shares its result.
func (l *Linux) Usage(ctx context.Context, path string) (Usage, error) {
	result := l.usage.DoChan(path, func() (any, error) {
		select {
		case l.usageSlots <- struct{}{}:
			defer func() { <-l.usageSlots }()
			return statfs(path)
		default:
			return nil, ErrBusy
		}
	})
	select {
	case r := <-result:
		if r.Err != nil {
			return Usage{}, fmt.Errorf("statfs %s: %w", path, r.Err)
		}
		return r.Val.(Usage), nil
	case <-ctx.Done():
		return Usage{}, fmt.Errorf("statfs %s: %w", path, ErrTimeout)
	}
}

func statfs(path string) (Usage, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(path, &s); err != nil {
		return Usage{}, err
	}
	unit := s.Frsize
	return Usage{
		TotalBytes:      int64(s.Blocks) * unit, //nolint:gosec // no file system is that large
		UsedBytes:       int64(s.Blocks-s.Bfree) * unit,
		AvailableBytes:  int64(s.Bavail) * unit,
		TotalInodes:     int64(s.Files), //nolint:gosec // likewise
		UsedInodes:      int64(s.Files - s.Ffree),
		AvailableInodes: int64(s.Ffree), //nolint:gosec // likewise
	}, nil
}

// MakeDir implements Mounter.
func (l *Linux) MakeDir(path string) error { return MakeDir(path) }

// RemoveDir implements Mounter.
func (l *Linux) RemoveDir(path string) error { return RemoveDir(path) }

// MakeDir makes a directory unless it is there.
func MakeDir(path string) error {
	if err := os.Mkdir(path, 0o750); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return nil
}

// RemoveDir removes an empty directory. It is rmdir(2), which cannot take a file or anything below with it: whatever
// a faulty caller names, no data is lost.
func RemoveDir(path string) error {
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}
