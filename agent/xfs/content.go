// Package xfs is everything that the agent asks of the disk and its file system: what lies on it, formatting, mounting,
// project quotas, copies without copying data, and removal of whole trees. No other package makes such system calls.
package xfs

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// Label marks the file systems that we made. XFS allows twelve characters.
const Label = "nfs-operator"

// Kind says what lies on a device.
type Kind int

const (
	// Blank holds nothing: blkid finds nothing, the first MiB and the last 64 KiB are zero.
	Blank Kind = iota
	// Unfinished is a file system of ours whose mkfs was interrupted.
	Unfinished
	// Ours is a file system of ours.
	Ours
	// Foreign is anything else. It must not be touched.
	Foreign
)

// Content is what lies on a device.
type Content struct {
	Kind  Kind
	Found string // for people, set when Foreign
	UUID  string // of the file system, set when Ours
}

const (
	headBytes = 1 << 20
	tailBytes = 64 << 10
)

// Inspect finds out what lies on a device. A device that cannot be read is an error, never blank.
func Inspect(ctx context.Context, device string) (Content, error) {
	f, err := os.Open(device)
	if err != nil {
		return Content{}, fmt.Errorf("open device: %w", err)
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, headBytes)
	if _, err := io.ReadFull(f, head); err != nil {
		return Content{}, fmt.Errorf("read start of device: %w", err)
	}
	// blkid is not asked of what is ours: what clients have written to a file can lie where another kind of disk has its signature.
	if ours, done := superblock(head); ours && !done {
		return Content{Kind: Unfinished}, nil
	} else if ours {
		return Content{Kind: Ours, UUID: formatUUID([16]byte(head[offsetUUID:]))}, nil
	}
	if found, err := probe(ctx, device); err != nil || found != "" {
		return Content{Kind: Foreign, Found: found}, err
	}
	if i := firstNonZero(head); i >= 0 {
		return Content{Kind: Foreign, Found: fmt.Sprintf("data of unknown kind at byte %d", i)}, nil
	}
	return inspectTail(f)
}

func inspectTail(f *os.File) (Content, error) {
	size, err := f.Seek(-tailBytes, io.SeekEnd)
	if err != nil {
		return Content{}, fmt.Errorf("find end of device: %w", err)
	}
	tail := make([]byte, tailBytes)
	if _, err := io.ReadFull(f, tail); err != nil {
		return Content{}, fmt.Errorf("read end of device: %w", err)
	}
	if i := firstNonZero(tail); i >= 0 {
		return Content{Kind: Foreign, Found: fmt.Sprintf("data of unknown kind at byte %d", size+int64(i))}, nil
	}
	return Content{Kind: Blank}, nil
}

const blkidNothing = 2 // blkid's exit code when it finds nothing

// probe asks blkid, without its cache. found is empty when blkid knows nothing of what it saw.
func probe(ctx context.Context, device string) (found string, err error) {
	out, err := exec.CommandContext(ctx, "blkid", "-p", "-o", "export", device).Output()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() == blkidNothing:
		if _, err := os.Stat(device); err != nil { // the same exit code
			return "", fmt.Errorf("find device: %w", err)
		}
		return "", nil
	case errors.As(err, &exit) && exit.ExitCode() == 8:
		return "several file systems or partition tables at once", nil
	case err != nil:
		return "", fmt.Errorf("run blkid: %w", err)
	}
	return describe(parseTags(string(out))), nil
}

func parseTags(out string) map[string]string {
	tags := map[string]string{}
	for line := range strings.Lines(out) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			tags[key] = value
		}
	}
	return tags
}

func describe(tags map[string]string) string {
	var what string
	switch {
	case tags["TYPE"] != "":
		what = tags["TYPE"]
		if tags["USAGE"] == "filesystem" || tags["USAGE"] == "" {
			what += " file system"
		}
	case tags["PTTYPE"] != "":
		what = "partition table (" + tags["PTTYPE"] + ")"
	default:
		what = "something that blkid recognises"
	}
	if label := tags["LABEL"]; label != "" {
		what += fmt.Sprintf(" with label %q", label)
	}
	if uuid := tags["UUID"]; uuid != "" {
		what += ", UUID " + uuid
	}
	return what
}

// Offsets in the superblock (struct xfs_dsb in the kernel's xfs_format.h).
const (
	offsetUUID       = 32
	offsetLabel      = 108
	offsetInProgress = 126
)

// superblock tells whether the device starts with a superblock of ours, and whether its mkfs has come to its end.
func superblock(head []byte) (ours, finished bool) {
	if binary.BigEndian.Uint32(head) != 0x58465342 { // "XFSB"
		return false, false
	}
	label := string(bytes.TrimRight(head[offsetLabel:offsetLabel+12], "\x00"))
	return label == Label, head[offsetInProgress] == 0
}

func firstNonZero(b []byte) int {
	return bytes.IndexFunc(b, func(r rune) bool { return r != 0 })
}

// Size of a device in bytes.
func Size(device string) (int64, error) {
	f, err := os.Open(device)
	if err != nil {
		return 0, fmt.Errorf("open device: %w", err)
	}
	defer func() { _ = f.Close() }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("find end of device: %w", err)
	}
	return size, nil
}
