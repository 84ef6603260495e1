//go:build vm

package agent

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// attributeBytes is a size that an attribute's value may have; twice as much it may not.
const attributeBytes = 4096

// testAttributes: what docs/volumes.md says of extended attributes and access lists is what a client sees.
func testAttributes(t *testing.T, h *host.Host) {
	t.Helper()
	c, node := h.Controller(t), h.Node(t, "node-a")
	v := create(t, c, "pvc-attributes", 64*mib)
	dir := h.Mount(t, open(t, node, v.GetId()))
	if err := errors.Join(os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Mkdir(filepath.Join(dir, "dir"), 0o755)); err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{"user.colour": []byte("blue"), "user.binary": {0, 1, 0xff, 0}, "user.large": bytes.Repeat([]byte("x"), attributeBytes)}
	for _, name := range []string{"file", "dir"} {
		path := filepath.Join(dir, name)
		for key, value := range want {
			if err := unix.Setxattr(path, key, value, unix.XATTR_CREATE); err != nil {
				t.Fatalf("set %s of %s: %v", key, name, err)
			}
		}
		if err := errors.Join(unix.Setxattr(path, "user.gone", []byte("soon"), 0), unix.Removexattr(path, "user.gone")); err != nil {
			t.Error(err)
		}
		for what, err := range map[string]error{
			"a value that is too large":    unix.Setxattr(path, "user.huge", make([]byte, 2*attributeBytes), 0),
			"an access list":               unix.Setxattr(path, "system.posix_acl_access", posixACL, 0),
			"a default access list":        unix.Setxattr(path, "system.posix_acl_default", posixACL, 0),
			"an attribute of the kernel's": unix.Setxattr(path, "trusted.colour", []byte("blue"), 0),
		} {
			if !isErrno(err, unix.EOPNOTSUPP) && (!isErrno(err, unix.EIO) || !strings.Contains(what, "large")) {
				t.Errorf("%s on %s: %v", what, name, err)
			}
		}
		wantAttributes(t, path, want)
	}
	snap := snapshotReady(t, c, &agentv1.CreateSnapshotRequest{Name: "snap-attributes", SourceVolumeId: v.GetId()})
	if err := unix.Setxattr(filepath.Join(dir, "file"), "user.colour", []byte("red"), unix.XATTR_REPLACE); err != nil {
		t.Error(err)
	}
	restored := createFrom(t, c, &agentv1.CreateVolumeRequest{Name: "pvc-attributes-restored", Spec: spec(64 * mib), SourceSnapshotId: snap.GetId()})
	clone := createFrom(t, c, &agentv1.CreateVolumeRequest{Name: "pvc-attributes-clone", Spec: spec(64 * mib), SourceVolumeId: v.GetId()})
	for _, copied := range []*agentv1.Volume{restored, clone} {
		dir := h.Mount(t, open(t, node, copied.GetId()))
		wantAttributes(t, filepath.Join(dir, "dir"), want)
		if copied == clone {
			want["user.colour"] = []byte("red")
		}
		wantAttributes(t, filepath.Join(dir, "file"), want)
	}
}

// posixACL is rwx, r-x, r-x as the kernel has it.
var posixACL = []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 4, 0, 5, 0, 255, 255, 255, 255, 0x20, 0, 5, 0, 255, 255, 255, 255}

// wantAttributes compares a file's user.* attributes.
func wantAttributes(t *testing.T, path string, want map[string][]byte) {
	t.Helper()
	b := make([]byte, 64<<10)
	n, err := unix.Listxattr(path, b)
	if err != nil {
		t.Fatalf("list %s: %v", path, err)
	}
	var names []string
	for name := range strings.SplitSeq(strings.TrimSuffix(string(b[:n]), "\x00"), "\x00") {
		if strings.HasPrefix(name, "user.") {
			names = append(names, name)
		}
	}
	if len(names) != len(want) {
		t.Errorf("%s has %q", path, names)
	}
	for name, value := range want {
		n, err := unix.Getxattr(path, name, b)
		if err != nil || !bytes.Equal(b[:max(n, 0)], value) || !slices.Contains(names, name) {
			t.Errorf("%s of %s is %.20q, %v, want %.20q", name, path, b[:max(n, 0)], err, value)
		}
	}
}

// testACopyThatFailsAtTheQuota lets the server copy (NFS 4.2's COPY) more than fits. What it had copied by then is charged until the file
// is removed.
func testACopyThatFailsAtTheQuota(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	v := create(t, c, "pvc-copy-quota", 64*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	used := func() int64 {
		t.Helper()
		usage, err := c.GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: v.GetId()})
		if err != nil {
			t.Fatal(err)
		}
		return usage.GetUsedBytes()
	}
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
	if err := os.WriteFile(source, make([]byte, 40*mib), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := copyRange(source, target, 40*mib); !isErrno(err, unix.ENOSPC) && !isErrno(err, unix.EDQUOT) {
		t.Errorf("40 MiB copied into the rest of 64: %v", err)
	}
	if n := operations(t, dir, "COPY"); n == 0 {
		t.Error("the client asked for no COPY")
	}
	if got := used(); got < 60*mib {
		t.Errorf("%d bytes are charged after a copy that was cut off", got)
	}
	if err := os.Remove(target); err != nil {
		t.Fatal(err)
	}
	eventually(t, 30*time.Second, "the charge of the removed file is given back", func() bool { return used() < 41*mib })
	if err := copyRange(source, target, 20*mib); err != nil {
		t.Errorf("20 MiB copied into the rest of 64: %v", err)
	}
}

func copyRange(from, to string, length int64) error {
	source, err := os.Open(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.Create(to)
	if err != nil {
		return err
	}
	defer target.Close()
	for length > 0 {
		n, err := unix.CopyFileRange(int(source.Fd()), nil, int(target.Fd()), nil, int(length), 0)
		if err != nil {
			return err
		}
		if n == 0 {
			return errors.New("the source is at its end")
		}
		length -= int64(n)
	}
	return nil
}

// operations is how often the client of a mount has sent an operation.
func operations(t *testing.T, dir, operation string) (n int) {
	t.Helper()
	text, err := os.ReadFile("/proc/self/mountstats")
	if err != nil {
		t.Fatal(err)
	}
	_, mine, _ := strings.Cut(string(text), " mounted on "+dir+" ")
	mine, _, _ = strings.Cut(mine, "\ndevice ")
	for line := range strings.Lines(mine) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == operation+":" {
			n, _ = strconv.Atoi(f[1])
		}
	}
	return n
}
