package xfs

import (
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

var (
	// ErrNotWhole is returned for a directory that is not the root of a mounted file system. A client that guesses file handles reaches
	// all that lies on the file system, not only what is below the directory.
	ErrNotWhole = errors.New("not a whole file system")
	// ErrNoHandles is returned for a file system whose files NFS cannot serve.
	ErrNoHandles = errors.New("files of this file system cannot be served")
)

// Mounted is what a file system can do that somebody else has made and mounted.
type Mounted struct {
	Type string // as the kernel calls it: xfs, ext4
	UUID string // empty where it is not XFS
	// Projects tells whether files can be charged to projects; Quota, whether what a project may take is enforced.
	Projects, Quota bool
	// Reflink tells whether files can be cloned; Xattrs, whether they can have extended attributes of users.
	Reflink, Xattrs bool
	// Durable tells whether a file that was made, renamed or removed stays so when the power fails.
	Durable bool
	// Device is its device number, and Numbered tells whether that is all by which file handles would know it.
	Device   uint64
	Numbered bool
}

// LookAt finds out what the file system that is mounted on a directory can do. It writes nothing, so that it works on a full one.
func LookAt(dir string) (Mounted, error) {
	info, err := mountAt(dir)
	if err != nil {
		return Mounted{}, err
	}
	f, err := Use(dir)
	if err != nil {
		return Mounted{}, err
	}
	defer func() { _ = f.Close() }()
	m := Mounted{Type: info.FSType, Xattrs: hasXattrs(dir)}
	options := strings.Split(info.VFSOptions, ",")
	has := func(option string) bool { return slices.Contains(options, option) }
	if m.Type != "xfs" {
		m.Durable = (has("sync") || has("dirsync")) && !has("nobarrier") && !has("barrier=0")
		return m, f.identify(&m)
	}
	m.Projects, m.Durable = true, has("wsync")
	var g geometry
	// The kernel fills it during the call
	if err := f.ioctl(getGeometry, unsafe.Pointer(&g)); err != nil {
		return Mounted{}, fmt.Errorf("get geometry: %w", err)
	}
	m.Reflink = g.Flags&hasReflink != 0
	m.UUID = formatUUID(g.UUID)
	if m.Quota, err = f.enforcesQuota(); err != nil {
		return Mounted{}, err
	}
	return m, f.identify(&m)
}

// mountAt finds what is mounted on a directory: the last, where several mounts lie on each other.
func mountAt(dir string) (*mountinfo.Info, error) {
	dir = filepath.Clean(dir)
	infos, err := mountinfo.GetMounts(func(i *mountinfo.Info) (skip, stop bool) { return i.Mountpoint != dir, false })
	switch {
	case err != nil:
		return nil, fmt.Errorf("read mounts: %w", err)
	case len(infos) == 0:
		return nil, fmt.Errorf("%w: nothing is mounted on %s", ErrNotWhole, dir)
	}
	info := infos[len(infos)-1]
	switch {
	case strings.HasPrefix(info.FSType, "nfs"):
		return nil, fmt.Errorf("%w: it is an NFS mount, whose server can be used itself: spec.external", ErrNoHandles)
	case info.FSType != "xfs" && info.FSType != "ext4":
		return nil, fmt.Errorf("%w: %s. Only XFS and ext4 are served: file handles of others may not outlive a restart, or reach beyond what is mounted", ErrNoHandles, info.FSType)
	case info.Root != "/":
		return nil, fmt.Errorf("%w: it is the directory %s of a file system (%s) that holds other things, too", ErrNotWhole, info.Root, info.FSType)
	}
	if _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir, 0); err != nil {
		return nil, fmt.Errorf("%w: %s gives no file handles: %w", ErrNoHandles, info.FSType, err)
	}
	return info, nil
}

func hasXattrs(dir string) bool {
	_, err := unix.Getxattr(dir, "user.nfs-operator", nil)
	return !errors.Is(err, unix.EOPNOTSUPP)
}

// identify finds out by what file handles will know the file system: some have an identity of their own in statfs, others their device's
// number.
func (f *Filesystem) identify(m *Mounted) error {
	var s unix.Statfs_t
	var st unix.Stat_t
	if err := unix.Fstatfs(int(f.root.Fd()), &s); err != nil {
		return fmt.Errorf("statfs: %w", err)
	}
	if err := unix.Fstat(int(f.root.Fd()), &st); err != nil {
		return fmt.Errorf("stat: %w", err)
	}
	m.Device = st.Dev
	major, minor := unix.Major(st.Dev), unix.Minor(st.Dev)
	number := int32(minor&0xff | major<<8 | minor&^0xff<<12) // the kernel's huge_encode_dev
	m.Numbered = s.Fsid.Val == [2]int32{number, 0} || s.Fsid.Val == [2]int32{}
	return nil
}

func formatUUID(b [16]byte) string {
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// From the kernel's dqblk_xfs.h.
const (
	xGetState      = ('X'<<8 + 8) << 8
	stateVersion   = 1
	projectEnforce = 1 << 5
)

// quotaState is struct fs_quota_statv.
type quotaState struct {
	Version, _ int8
	Flags      uint16
	_          uint32
	_          [152]byte
}

var _ [160]byte = [unsafe.Sizeof(quotaState{})]byte{}

func (f *Filesystem) enforcesQuota() (bool, error) {
	q := quotaState{Version: stateVersion}
	// The kernel fills it during the call
	err := f.quotactl(xGetState, 0, unsafe.Pointer(&q))
	switch {
	case errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EOPNOTSUPP):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("read state of quotas: %w", err)
	}
	return q.Flags&projectEnforce != 0, nil
}

// Restrict sets the flags of a mount that Mount would have set, for this mount namespace alone.
func Restrict(dir string) error {
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_BIND|mountFlags, ""); err != nil {
		return fmt.Errorf("set flags of the mount on %s: %w", dir, err)
	}
	return nil
}
