package xfs

import "context"

// Unlimited is a file system without quotas: trees are made, copied and removed as on any other, and nothing is limited or known of what a
// project takes.
type Unlimited struct {
	*Filesystem

	// Projects charges trees to projects all the same, so that limits can hold one day.
	Projects bool
}

// Quota is empty: nobody knows.
func (Unlimited) Quota(uint32) (Quota, error) { return Quota{}, nil }

// SetLimits does nothing.
func (Unlimited) SetLimits(uint32, int64, int64) error { return nil }

// MakeRoot makes an empty directory. What a killed call left at the path is used again.
func (u Unlimited) MakeRoot(path string, r Root) error {
	r.Project = u.project(r.Project)
	return u.Filesystem.MakeRoot(path, r)
}

// CopyTree makes a copy that shares its data with the original.
func (u Unlimited) CopyTree(ctx context.Context, source, target string, project uint32, report func(files int)) error {
	return u.Filesystem.CopyTree(ctx, source, target, u.project(project), report)
}

func (u Unlimited) project(id uint32) uint32 {
	if u.Projects {
		return id
	}
	return 0
}
