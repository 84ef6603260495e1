package share

import (
	"context"

	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

// Filesystem is the mounted share as the engine sees it: trees are made, copied and removed as on a disk of our own, and nothing is
// charged to anything, for NFS knows no project quota.
type Filesystem struct{ *xfs.Filesystem }

// Quota is empty: nobody knows.
func (Filesystem) Quota(uint32) (xfs.Quota, error) { return xfs.Quota{}, nil }

// SetLimits does nothing.
func (Filesystem) SetLimits(uint32, int64, int64) error { return nil }

// MakeRoot makes an empty directory. What a killed call left at the path is used again.
func (f Filesystem) MakeRoot(path string, r xfs.Root) error {
	r.Project = 0
	return f.Filesystem.MakeRoot(path, r)
}

// CopyTree makes a copy that shares its data with the original.
func (f Filesystem) CopyTree(ctx context.Context, source, target string, _ uint32, report func(files int)) error {
	return f.Filesystem.CopyTree(ctx, source, target, 0, report)
}
