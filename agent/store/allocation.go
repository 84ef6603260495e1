package store

import "math"

const (
	kib = int64(1) << 10
	mib = int64(1) << 20
	gib = int64(1) << 30

	// BlockBytes is what sizes are rounded up to: the file system's block.
	BlockBytes = 4 * kib
	// MinVolumeBytes is the least that a volume is given.
	MinVolumeBytes = mib

	bytesPerInode = 16 * kib // 65,536 inodes a GiB
	minInodes     = 4096
	inodeBytes    = 512 // on the disk; they are not charged to the byte quota
)

// RoundVolumeBytes is the size that a volume gets for a wish: whole blocks, at least MinVolumeBytes.
func RoundVolumeBytes(bytes int64) int64 {
	bytes = max(bytes, MinVolumeBytes)
	if bytes > math.MaxInt64-BlockBytes {
		return math.MaxInt64 / BlockBytes * BlockBytes
	}
	return (bytes + BlockBytes - 1) / BlockBytes * BlockBytes
}

// Inodes is how many files a volume of that size may hold. Without such a limit a volume full of empty files takes many
// times its size from the disk.
func Inodes(bytes int64) int64 { return max(bytes/bytesPerInode, minInodes) }

// MaxInodes is the most that a volume can be given; the disk is full of inodes long before.
const MaxInodes = int64(1) << 40

// MinInodes is the least that a volume can be given.
const MinInodes = minInodes

// InodeLimit is how many files the volume may hold.
func (s Spec) InodeLimit() int64 {
	if s.Inodes > 0 {
		return s.Inodes
	}
	return Inodes(s.Bytes)
}

// Promise is what the volume can take from the disk: its bytes and its inodes.
func (s Spec) Promise() int64 {
	inodes := min(s.InodeLimit(), math.MaxInt64/inodeBytes) * inodeBytes
	if s.Bytes > math.MaxInt64-inodes {
		return math.MaxInt64
	}
	return s.Bytes + inodes
}

// Charged is what a tree without a limit (snapshot, trash, archive) takes, by what is charged to its project.
func Charged(bytes, inodes int64) int64 { return bytes + inodes*inodeBytes }

// Reserve is what no volume is promised: records, Ganesha's state and room for copies on write. It is 2 per cent of the
// disk, at least 1 GiB and at most 32 GiB; on disks below 16 GiB a sixteenth.
func Reserve(total int64) int64 { return min(max(total/50, min(gib, total/16)), 32*gib) }

// BallastBytes is the size of the file that is given up when a record finds no room.
func BallastBytes(total int64) int64 { return min(256*mib, Reserve(total)/4) / BlockBytes * BlockBytes }

// Free is what is still to be promised.
func Free(total, allocated int64, overcommitPercent int32) int64 {
	limit := math.Min(float64(total)*float64(overcommitPercent)/100, math.MaxInt64/2)
	return int64(limit) - allocated
}

// Largest is the size of the largest volume whose promise is not more than free; 0 when there is none.
func Largest(free int64) int64 {
	largest := free / (bytesPerInode + inodeBytes) * bytesPerInode
	if Inodes(largest) == minInodes {
		largest = free - minInodes*inodeBytes
	}
	largest = largest / BlockBytes * BlockBytes
	if largest < MinVolumeBytes {
		return 0
	}
	return largest
}
