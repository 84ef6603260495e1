// Package fake is a Mounter in memory, for tests of what uses one. Directories are real, so that callers can look.
package fake

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// Mounter keeps its mounts in memory.
type Mounter struct {
	mu          sync.Mutex
	mounts      []mount.Mount
	filesystems []mount.Filesystem
	devices     map[string]string // by source
	calls       []string
	before      func(ctx context.Context, op, target string) error
	after       func(op, target string)
}

var _ mount.Mounter = (*Mounter)(nil)

// Before has f called at the start of every change ("mount", "bind", "unmount", "detach", "force") and look ("usage"); its
// error is the call's.
func (m *Mounter) Before(f func(ctx context.Context, op, target string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.before = f
}

// After has f called at the end of every change that succeeded.
func (m *Mounter) After(f func(op, target string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.after = f
}

func (m *Mounter) end(op, target string) {
	m.mu.Lock()
	after := m.after
	m.mu.Unlock()
	if after != nil {
		after(op, target)
	}
}

// Calls lists the changes that were asked for, in order, as "op target".
func (m *Mounter) Calls() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.calls)
}

// Hold keeps a file system in the kernel's list after its last unmount, until Drop.
func (m *Mounter) Hold(f mount.Filesystem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.filesystems = append(m.filesystems, f)
}

// Drop ends what Hold began.
func (m *Mounter) Drop(f mount.Filesystem) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.filesystems = slices.DeleteFunc(m.filesystems, func(o mount.Filesystem) bool { return o == f })
}

func (m *Mounter) begin(ctx context.Context, op, target string) error {
	m.mu.Lock()
	m.calls = append(m.calls, op+" "+target)
	before := m.before
	m.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(ctx, op, target)
}

// NFS implements mount.Mounter.
func (m *Mounter) NFS(ctx context.Context, n mount.NFS) error {
	target, err := os.Open(n.Target)
	if err == nil {
		defer func() { _ = target.Close() }()
	}
	if err := m.begin(ctx, "mount", n.Target); err != nil {
		return err
	}
	if target != nil && removed(target) {
		return unix.ENOENT
	}
	m.add(n)
	m.end("mount", n.Target)
	return nil
}

// removed reports whether an open directory has no name any more.
func removed(dir *os.File) bool {
	var s unix.Stat_t
	return unix.Fstat(int(dir.Fd()), &s) == nil && s.Nlink == 0
}

func (m *Mounter) add(n mount.NFS) {
	m.mu.Lock()
	defer m.mu.Unlock()
	source := n.Address + ":" + n.Path
	if m.devices == nil {
		m.devices = map[string]string{}
	}
	if m.devices[source] == "" {
		m.devices[source] = fmt.Sprintf("0:%d", 50+len(m.devices))
	}
	options := []string{"rw"}
	if n.Options.Flags&unix.MS_RDONLY != 0 {
		options = []string{"ro"}
	}
	m.mounts = append(m.mounts, mount.Mount{
		Source: source, Target: n.Target, FSType: "nfs4", Root: "/", Options: options, Device: m.devices[source],
	})
}

// Bind implements mount.Mounter.
func (m *Mounter) Bind(ctx context.Context, source, target string, readOnly bool) error {
	if err := m.begin(ctx, "bind", target); err != nil {
		return err
	}
	if err := m.bind(source, target, readOnly); err != nil {
		return err
	}
	m.end("bind", target)
	return nil
}

func (m *Mounter) bind(source, target string, readOnly bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, ok := mount.At(m.mounts, source)
	if !ok {
		return fmt.Errorf("nothing is mounted at %s", source)
	}
	m.mounts = slices.DeleteFunc(m.mounts, func(o mount.Mount) bool { return o.Target == target })
	from.Target = target
	if readOnly {
		from.Options = []string{"ro"}
	}
	m.mounts = append(m.mounts, from)
	return nil
}

// Unmount implements mount.Mounter.
func (m *Mounter) Unmount(ctx context.Context, target string) error {
	if err := m.begin(ctx, "unmount", target); err != nil {
		return err
	}
	if err := m.take(target); err != nil {
		return err
	}
	m.end("unmount", target)
	return nil
}

func (m *Mounter) take(target string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, o := range slices.Backward(m.mounts) {
		if o.Target == target {
			m.mounts = slices.Delete(m.mounts, i, i+1)
			return nil
		}
	}
	return fmt.Errorf("nothing is mounted at %s", target)
}

// Detach implements mount.Mounter.
func (m *Mounter) Detach(ctx context.Context, target string, force bool) error {
	op := "detach"
	if force {
		op = "force"
	}
	if err := m.begin(ctx, op, target); err != nil {
		return err
	}
	return m.take(target)
}

// Mounts implements mount.Mounter.
func (m *Mounter) Mounts() ([]mount.Mount, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.mounts), nil
}

// Filesystems implements mount.Mounter. A mounted file system's FSID is "fsid-" and its device.
func (m *Mounter) Filesystems() ([]mount.Filesystem, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := slices.Clone(m.filesystems)
	for _, o := range m.mounts {
		list = append(list, mount.Filesystem{Device: o.Device, FSID: "fsid-" + o.Device})
	}
	return list, nil
}

// Usage implements mount.Mounter.
func (m *Mounter) Usage(ctx context.Context, target string) (mount.Usage, error) {
	if err := m.begin(ctx, "usage", target); err != nil {
		return mount.Usage{}, err
	}
	return mount.Usage{TotalBytes: 1000, UsedBytes: 400, AvailableBytes: 600, TotalInodes: 10, UsedInodes: 4, AvailableInodes: 6}, nil
}

// MakeDir implements mount.Mounter.
func (m *Mounter) MakeDir(path string) error { return mount.MakeDir(path) }

// RemoveDir implements mount.Mounter.
func (m *Mounter) RemoveDir(path string) error { return mount.RemoveDir(path) }

// RenewDir implements mount.Mounter.
func (m *Mounter) RenewDir(path string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, mounted := mount.At(m.mounts, path); mounted {
		return unix.EBUSY
	}
	return mount.RenewDir(path)
}
