package xfs

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Filesystem is a mounted file system of ours. Its methods are safe for concurrent use.
type Filesystem struct {
	root *os.File
}

// Use takes a mounted file system into use.
func Use(dir string) (*Filesystem, error) {
	root, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("open file system: %w", err)
	}
	return &Filesystem{root: root}, nil
}

// Close gives the file system up, so that it can be unmounted.
func (f *Filesystem) Close() error { return f.root.Close() }

// Sync writes everything to the disk.
func (f *Filesystem) Sync() error {
	if err := unix.Syncfs(int(f.root.Fd())); err != nil {
		return fmt.Errorf("sync file system: %w", err)
	}
	return nil
}

// Space is the size of the file system, and what is used of it, in bytes.
func (f *Filesystem) Space() (total, used int64, err error) {
	var s unix.Statfs_t
	if err := unix.Fstatfs(int(f.root.Fd()), &s); err != nil {
		return 0, 0, fmt.Errorf("statfs: %w", err)
	}
	return product(s.Blocks, s.Bsize), product(s.Blocks-s.Bfree, s.Bsize), nil
}

// product is the number of bytes in some blocks. Some NFS servers say that they have more than a number holds.
func product(blocks uint64, size int64) int64 {
	high, low := bits.Mul64(blocks, uint64(size))
	if high > 0 || low > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(low)
}

// Quota is what a project may take and has taken. A limit of 0 is none.
type Quota struct {
	LimitBytes, UsedBytes   int64
	LimitInodes, UsedInodes int64
}

// From the kernel's dqblk_xfs.h.
const (
	projectQuota  = 2
	xGetQuota     = ('X'<<8 + 3) << 8
	xSetLimits    = ('X'<<8 + 4) << 8
	hardInodes    = 1 << 1
	hardBlocks    = 1 << 3
	quotaVersion  = 1
	quotaBlock    = 512
	projectFlag   = 2
	structureSize = 112
)

// diskQuota is struct fs_disk_quota.
type diskQuota struct {
	Version, Flags                                      int8
	FieldMask                                           uint16
	ID                                                  uint32
	BlockHard, BlockSoft, InodeHard, InodeSoft          uint64
	BlockCount, InodeCount                              uint64
	InodeTimer, BlockTimer                              int32
	InodeWarns, BlockWarns                              uint16
	InodeTimerHigh, BlockTimerHigh, RealTimerHigh, Pad2 int8
	RealHard, RealSoft, RealCount                       uint64
	RealTimer                                           int32
	RealWarns                                           uint16
	Pad3                                                int16
	Pad4                                                [8]byte
}

var _ [structureSize]byte = [unsafe.Sizeof(diskQuota{})]byte{}

// ErrLocked is returned where another process of this machine works on the file system.
var ErrLocked = errors.New("another agent on this node works on the disk")

// Lock keeps others on this machine away from the file system until Close, or the end of the process. ErrLocked is returned where
// somebody else has it.
func (f *Filesystem) Lock() error {
	err := unix.Flock(int(f.root.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return ErrLocked
	}
	return err
}

func (f *Filesystem) quotactl(command uintptr, project uint32, argument unsafe.Pointer) error {
	// The kernel uses it during the call
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, f.root.Fd(), command|projectQuota, uintptr(project), uintptr(argument), 0, 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// Quota reads a project's quota. A project that nothing was ever charged to has an empty one.
func (f *Filesystem) Quota(project uint32) (Quota, error) {
	var q diskQuota
	err := f.quotactl(xGetQuota, project, unsafe.Pointer(&q))
	if errors.Is(err, unix.ENOENT) {
		return Quota{}, nil
	}
	if err != nil {
		return Quota{}, fmt.Errorf("read quota of project %d: %w", project, err)
	}
	return Quota{
		LimitBytes: int64(q.BlockHard) * quotaBlock, UsedBytes: int64(q.BlockCount) * quotaBlock,
		LimitInodes: int64(q.InodeHard), UsedInodes: int64(q.InodeCount),
	}, nil
}

// SetLimits sets what a project may take; 0 lifts a limit.
func (f *Filesystem) SetLimits(project uint32, bytes, inodes int64) error {
	q := diskQuota{
		Version: quotaVersion, Flags: projectFlag, FieldMask: hardBlocks | hardInodes, ID: project,
		BlockHard: uint64(bytes) / quotaBlock, InodeHard: uint64(inodes),
	}
	if err := f.quotactl(xSetLimits, project, unsafe.Pointer(&q)); err != nil {
		return fmt.Errorf("set quota of project %d: %w", project, err)
	}
	return nil
}
