// Package mount is what the node plugin does to the node's file systems: mounts of NFS, bind mounts, unmounts, and
// looking at them. Nothing in it waits for an NFS server without a deadline.
package mount

import (
	"context"
	"errors"
	"slices"
)

var (
	// ErrBusy is returned while an earlier system call on the same path has not come back, or something uses the mount.
	ErrBusy = errors.New("mount point is busy")
	// ErrTimeout is returned when a deadline passed. The mount may or may not exist: only Mounts tells.
	ErrTimeout = errors.New("deadline exceeded")
)

// Mounter changes and reads the mounts of the node.
type Mounter interface {
	// NFS mounts an NFS server's directory.
	NFS(ctx context.Context, m NFS) error
	// Bind makes what is mounted at source visible at target, too. Where target shows it already, only readOnly is
	// applied to it.
	Bind(ctx context.Context, source, target string, readOnly bool) error
	// Unmount takes away what was mounted last at target.
	Unmount(ctx context.Context, target string) error
	// Detach takes the mount at target out of sight, whoever uses it. With force all requests of its file system that wait
	// for the server fail, those of other mounts of it, too: what was written and is not at the server yet is lost.
	Detach(ctx context.Context, target string, force bool) error
	// Mounts lists what is mounted, in the order in which it was.
	Mounts() ([]Mount, error)
	// Filesystems lists the NFS file systems that the kernel holds. A mount that was detached lazily, or lives on in
	// another mount namespace, is not in Mounts any more, but still writes back: it is listed here.
	Filesystems() ([]Filesystem, error)
	// Usage asks the file system at path how full it is. It can be called on a mount of a dead server.
	Usage(ctx context.Context, path string) (Usage, error)
	// MakeDir makes a directory unless it is there. Its parent must exist.
	MakeDir(path string) error
	// RemoveDir removes an empty directory if it is there, and never anything else.
	RemoveDir(path string) error
	// RenewDir removes an empty directory, if it is there, and makes it again. What was begun to be mounted at the old one fails with ENOENT from
	// then on, whatever becomes of its process. EBUSY says that it is mounted already.
	RenewDir(path string) error
}

// NFS is one mount of an NFS server's directory.
type NFS struct {
	Address string // of the server
	Path    string // at the server
	Target  string
	Options Options
}

// Mount is one mount of the node.
type Mount struct {
	Source  string // of NFS: address:/path
	Target  string
	FSType  string
	Root    string   // directory of the file system that is mounted; "/" is the whole
	Options []string // of this mount, not of the file system
	Device  string   // major:minor
}

// ReadOnly reports whether this mount refuses writes.
func (m Mount) ReadOnly() bool { return slices.Contains(m.Options, "ro") }

// IsNFS reports whether it is a mount of NFS version 4.
func (m Mount) IsNFS() bool { return m.FSType == "nfs4" || m.FSType == "nfs" }

// Filesystem is an NFS file system that the kernel holds.
type Filesystem struct {
	Device string `json:"device"` // major:minor, as in Mount; used again for another file system when this one is gone
	FSID   string `json:"fsid"`   // as the server says it
}

// Usage is how full a file system is.
type Usage struct {
	TotalBytes, UsedBytes, AvailableBytes    int64
	TotalInodes, UsedInodes, AvailableInodes int64
}

// At finds what is visible at target: the last of the mounts there.
func At(mounts []Mount, target string) (Mount, bool) {
	for _, m := range slices.Backward(mounts) {
		if m.Target == target {
			return m, true
		}
	}
	return Mount{}, false
}
