package xfs

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// From the kernel's xfs_fs.h.
const (
	getGeometry = 0x80705864 // XFS_IOC_FSGEOMETRY_V1
	growData    = 0x4010586e // XFS_IOC_FSGROWFSDATA
	hasReflink  = 1 << 20    // XFS_FSOP_GEOM_FLAGS_REFLINK
)

// geometry is struct xfs_fsop_geom_v1.
type geometry struct {
	BlockBytes, _, GroupBlocks, Groups, _, _, _, InodePercent uint32
	Blocks                                                    uint64
	_                                                         [24]byte
	UUID                                                      [16]byte
	_                                                         [12]byte
	Flags                                                     uint32
	_                                                         [16]byte
}

var _ [112]byte = [unsafe.Sizeof(geometry{})]byte{}

// growRequest is struct xfs_growfs_data.
type growRequest struct {
	Blocks       uint64
	InodePercent uint32
	_            uint32
}

// Groups is how many allocation groups the file system has, and the bytes of each. The size was chosen by mkfs.xfs for the size that the
// device had then, and a file system that grows gets more of them.
func (f *Filesystem) Groups() (count, bytes int64, err error) {
	var g geometry
	// The kernel fills it during the call
	if err := f.ioctl(getGeometry, unsafe.Pointer(&g)); err != nil {
		return 0, 0, fmt.Errorf("get geometry: %w", err)
	}
	return int64(g.Groups), int64(g.GroupBlocks) * int64(g.BlockBytes), nil
}

// Grow makes the file system as large as its device has become. It does nothing when it is.
func (f *Filesystem) Grow(device string) (grown bool, err error) {
	size, err := Size(device)
	if err != nil {
		return false, err
	}
	var g geometry
	// The kernel fills it during the call
	if err := f.ioctl(getGeometry, unsafe.Pointer(&g)); err != nil {
		return false, fmt.Errorf("get geometry: %w", err)
	}
	wanted := growRequest{Blocks: uint64(size) / uint64(g.BlockBytes), InodePercent: g.InodePercent}
	if wanted.Blocks <= g.Blocks {
		return false, nil
	}
	// The kernel reads it during the call
	if err := f.ioctl(growData, unsafe.Pointer(&wanted)); err != nil {
		return false, fmt.Errorf("grow to %d blocks: %w", wanted.Blocks, err)
	}
	return true, nil
}

func (f *Filesystem) ioctl(request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.root.Fd(), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
