package mount

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/csi/keylock"
	"github.com/nfs-operator/nfs-operator/csi/mount/child"
)

// afterKill is how long a killed child is waited for. The kernel's NFS client can be killed while it waits for a
// server, with few exceptions.
const afterKill = 2 * time.Second

// Linux is the Mounter of a real node. Each system call that can wait for an NFS server is made by a child process,
// which can be killed: a thread of this process could not, and while it waits it would hold the mount.
type Linux struct {
	program    string // that becomes the child
	clientName string // of the kernel's NFS client; empty: the hostname
	busy       keylock.Set
}

var _ Mounter = (*Linux)(nil)

// NewLinux makes a Mounter.
func NewLinux() *Linux { return &Linux{program: child.Program} }

// NFS implements Mounter.
func (l *Linux) NFS(ctx context.Context, m NFS) error {
	return l.run(ctx, child.Request{
		Op: child.NFS, Source: Source(m.Address, m.Path), Target: m.Target, Flags: m.Options.Flags, Data: m.Options.Data, Host: l.clientName,
	})
}

// Source is what the kernel, like mount.nfs, takes and shows in mountinfo.
func Source(address, path string) string {
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	return address + ":" + path
}

// Host is the address in a source.
func Host(source string) string {
	host, _, _ := strings.Cut(source, ":/")
	return strings.Trim(host, "[]")
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

// Detach implements Mounter.
func (l *Linux) Detach(ctx context.Context, target string, force bool) error {
	op := child.Detach
	if force {
		op = child.Force
	}
	// A key of its own: a plain unmount may still be waiting, and this is what ends it.
	_, err := l.call(ctx, "detach "+target, child.Request{Op: op, Target: target})
	return err
}

// run has a child do the request. It returns at the context's end at the latest (and the little time that a killed
// child is given), but the target stays busy until the child's system call has come back.
func (l *Linux) run(ctx context.Context, r child.Request) error {
	_, err := l.call(ctx, r.Target, r)
	return err
}

func (l *Linux) call(ctx context.Context, key string, r child.Request) (child.Result, error) {
	if !l.busy.TryAcquire(key) {
		return child.Result{}, fmt.Errorf("%s %s: %w: an earlier system call has not returned", r.Op, r.Target, ErrBusy)
	}
	type answer struct {
		result child.Result
		err    error
	}
	done := make(chan answer, 1)
	go func() {
		defer l.busy.Release(key)
		result, err := l.runChild(ctx, r)
		done <- answer{result, err}
	}()
	var a answer
	select {
	case a = <-done:
	case <-ctx.Done():
		select {
		case a = <-done:
		case <-time.After(afterKill):
			a.err = ErrTimeout
		}
	}
	if a.err != nil {
		return a.result, fmt.Errorf("%s %s: %w", r.Op, r.Target, a.err)
	}
	return a.result, nil
}

func (l *Linux) runChild(ctx context.Context, r child.Request) (child.Result, error) {
	cmd := exec.CommandContext(ctx, l.program)
	cmd.Args = r.Args()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if r.Host != "" {
		cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWUTS
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Env = []string{"GOMAXPROCS=1"}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil && ctx.Err() != nil {
		return child.Result{}, ErrTimeout
	}
	result, ok := parseResult(stdout.String())
	if err != nil || !ok {
		return result, fmt.Errorf("child failed: %v: %.200q", err, stderr.String()) //nolint:errorlint // may be nil
	}
	if result.Errno != 0 {
		return result, result.Errno
	}
	return result, nil
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

// Usage implements Mounter.
func (l *Linux) Usage(ctx context.Context, path string) (Usage, error) {
	// A key of its own: an unmount must not wait for it.
	r, err := l.call(ctx, "usage of "+path, child.Request{Op: child.Usage, Target: path})
	if err != nil {
		return Usage{}, err
	}
	unit, blocks, free, available, inodes, freeInodes := r.Values[0], r.Values[1], r.Values[2], r.Values[3], r.Values[4], r.Values[5]
	return Usage{
		TotalBytes: count(blocks * unit), UsedBytes: count((blocks - free) * unit), AvailableBytes: count(available * unit),
		TotalInodes: count(inodes), UsedInodes: count(inodes - freeInodes), AvailableInodes: count(freeInodes),
	}, nil
}

// count is a number as CSI has it.
func count(n uint64) int64 { return int64(min(n, math.MaxInt64)) } // not larger than that

// MakeDir implements Mounter.
func (l *Linux) MakeDir(path string) error { return MakeDir(path) }

// RemoveDir implements Mounter.
func (l *Linux) RemoveDir(path string) error { return RemoveDir(path) }

// RenewDir implements Mounter.
func (l *Linux) RenewDir(path string) error { return RenewDir(path) }

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

// RenewDir removes an empty directory, if it is there, and makes it again. mount(2) finds its target first, asks the server then, and in the
// end mounts on nothing that was removed meanwhile.
func RenewDir(path string) error {
	err := unix.Rmdir(path)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if err != nil {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return MakeDir(path)
}
