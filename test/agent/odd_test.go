//go:build vm && long

package agent

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestOddTrees makes what tenants and administrators can make, and lets it be copied, archived and deleted.
func TestOddTrees(t *testing.T) {
	dir := bareDisk(t, host.DiskSmall)
	d := onDisk(t, dir)
	for name, c := range map[string]struct {
		make  func(t *testing.T, root string)
		check func(t *testing.T, root string) // of a copy
	}{
		"many levels": {makeDeep, func(t *testing.T, root string) {
			t.Helper()
			if got := levels(t, root); got != oddLevels {
				t.Errorf("%d levels, want %d", got, oddLevels)
			}
		}},
		"immutable and append-only": {makeFlagged, func(t *testing.T, root string) {
			t.Helper()
			for name := range flagged {
				if text, err := os.ReadFile(filepath.Join(root, name, "file")); err != nil || string(text) != name {
					t.Errorf("%s: %q, %v", name, text, err)
				}
			}
		}},
		"access lists": {func(t *testing.T, root string) {
			t.Helper()
			if err := errors.Join(os.WriteFile(filepath.Join(root, "file"), nil, 0o640), unix.Setxattr(filepath.Join(root, "file"), aclName, acl(), 0)); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, root string) {
			t.Helper()
			got := make([]byte, 256)
			n, err := unix.Getxattr(filepath.Join(root, "file"), aclName, got)
			if err != nil || !bytes.Equal(got[:max(n, 0)], acl()) {
				t.Errorf("access list %x, %v, want %x", got[:max(n, 0)], err, acl())
			}
		}},
		"open for writing": {func(t *testing.T, root string) {
			t.Helper()
			f, err := os.Create(filepath.Join(root, "file"))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { f.Close() })
			if _, err := f.WriteString(strings.Repeat("not synced", 10_000)); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, root string) {
			t.Helper()
			if text, err := os.ReadFile(filepath.Join(root, "file")); err != nil || len(text) != 100_000 {
				t.Errorf("%d bytes, %v", len(text), err)
			}
		}},
		"names": {func(t *testing.T, root string) {
			t.Helper()
			for _, name := range oddNames {
				if err := os.WriteFile(filepath.Join(root, name), []byte(name), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.Symlink(strings.Repeat("x/", 500), filepath.Join(root, "long link")); err != nil {
				t.Fatal(err)
			}
		}, func(t *testing.T, root string) {
			t.Helper()
			for _, name := range oddNames {
				if text, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(text) != name {
					t.Errorf("%q: %q, %v", name, text, err)
				}
			}
			if to, err := os.Readlink(filepath.Join(root, "long link")); len(to) != 1000 {
				t.Errorf("link of %d bytes, %v", len(to), err)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) { survives(t, d, strings.ReplaceAll(name, " ", "-"), c.make, c.check) })
	}
	if left, err := os.ReadFile(filepath.Join(dir, "..", outside)); err == nil {
		t.Errorf("something was made outside: %q", left)
	}
}

const outside = "made-outside"

var oddNames = []string{
	strings.Repeat("n", 255), strings.Repeat("ü", 127), "new\nline", " ", "*", "-rf", "\xff\xfe", "\\", `"`, "$(touch " + outside + ")", "..x", "...",
}

func survives(t *testing.T, d *disk, name string, fill, check func(*testing.T, string)) {
	t.Helper()
	ctx := context.Background()
	r := engine.CreateRequest{Name: name, Spec: store.Spec{Bytes: 64 * mib, Inodes: 2 * oddLevels, Mode: 0o755, Squash: store.SquashNone, OnDelete: store.OnDeleteArchive}}
	v, err := d.Create(ctx, r)
	if err != nil {
		t.Fatal(err)
	}
	fill(t, d.Store.VolumeDir(v.ID))
	var s store.Snapshot
	eventually(t, 5*time.Minute, "snapshot is made", func() bool {
		if s, err = d.CreateSnapshot(ctx, name+"-snapshot", v.ID); err != nil && !errors.Is(err, engine.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	check(t, d.Store.SnapshotDir(s.ID))
	r.Name, r.SourceSnapshot, r.Spec.OnDelete = name+"-restored", s.ID, store.OnDeleteDelete
	var restored store.Volume
	eventually(t, 5*time.Minute, "volume is restored", func() bool {
		restored, err = d.Create(ctx, r)
		if err != nil && !errors.Is(err, engine.ErrBusy) {
			t.Fatal(err)
		}
		return err == nil
	})
	check(t, d.Store.VolumeDir(restored.ID))
	if err := errors.Join(d.Delete(ctx, v.ID), d.Delete(ctx, restored.ID), d.DeleteSnapshot(ctx, s.ID)); err != nil {
		t.Fatal(err)
	}
	check(t, d.Store.ArchiveDir(v.Discarded()))
	eventually(t, 5*time.Minute, "trash is empty", func() bool {
		left, err := d.Store.ListTrash()
		return err == nil && len(left) == 0
	})
}

func makeDeep(t *testing.T, root string) {
	t.Helper()
	at, err := unix.Open(root, unix.O_DIRECTORY, 0)
	for i := 0; err == nil && i < oddLevels; i++ {
		if err = unix.Mkdirat(at, "d", 0o755); err == nil {
			var next int
			next, err = unix.Openat(at, "d", unix.O_DIRECTORY, 0)
			unix.Close(at)
			at = next
		}
	}
	if err == nil {
		err = unix.Mknodat(at, "bottom", unix.S_IFIFO|0o600, 0)
	}
	unix.Close(at)
	if err != nil {
		t.Fatal(err)
	}
}

// levels counts how deep it goes to a file named bottom.
func levels(t *testing.T, root string) (n int) {
	t.Helper()
	at, err := unix.Open(root, unix.O_DIRECTORY, 0)
	for err == nil {
		var next int
		if next, err = unix.Openat(at, "d", unix.O_DIRECTORY, 0); err == nil {
			unix.Close(at)
			at = next
			n++
		}
	}
	defer unix.Close(at)
	var st unix.Stat_t
	if err := unix.Fstatat(at, "bottom", &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		t.Errorf("at the bottom: %v", err)
	}
	return n
}

// flagged are directories with a file each that carries a flag of chattr.
var flagged = map[string]int{"immutable": 0x10, "append": 0x20}

func makeFlagged(t *testing.T, root string) {
	t.Helper()
	for name, flag := range flagged {
		path := filepath.Join(root, name, "file")
		if err := errors.Join(os.Mkdir(filepath.Join(root, name), 0o755), os.WriteFile(path, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
		for _, p := range []string{path, filepath.Dir(path)} {
			f, err := os.Open(p)
			if err != nil {
				t.Fatal(err)
			}
			if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, flag); err != nil {
				t.Fatal(err)
			}
			f.Close()
		}
	}
}

const aclName = "system.posix_acl_access"

// acl is rw- for the owner, r-- for user 1234, r-- for the group, nothing for others, as the kernel has it.
func acl() []byte {
	var b bytes.Buffer
	_ = binary.Write(&b, binary.LittleEndian, uint32(2))
	for _, e := range []struct {
		Tag, Perm uint16
		ID        uint32
	}{{1, 6, 0xffffffff}, {2, 4, 1234}, {4, 4, 0xffffffff}, {0x10, 4, 0xffffffff}, {0x20, 0, 0xffffffff}} {
		_ = binary.Write(&b, binary.LittleEndian, e)
	}
	return b.Bytes()
}
