package xfs

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func unpaced(context.Context) error { return nil }

func TestRemoveTreeTakesAllAndNothingElse(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	parent := t.TempDir()
	deep := filepath.Join(parent, "tree")
	for range 3*maxDepth + 5 {
		deep = filepath.Join(deep, "d")
	}
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for link, to := range map[string]string{"file": outside, "dir": filepath.Dir(outside), "up": "../.."} {
		if err := os.Symlink(to, filepath.Join(deep, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(parent, "sibling"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var fs *Filesystem
	for range 2 { // what is gone is removed
		if err := fs.RemoveTree(t.Context(), parent, "tree", unpaced); err != nil {
			t.Fatal(err)
		}
	}
	left, err := os.ReadDir(parent)
	if err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Errorf("something outside was removed: %v", err)
	}
}

// TestRemoveDeepTreeWithoutRenameFlags: Linux's NFS client answers EINVAL for all of them.
func TestRemoveDeepTreeWithoutRenameFlags(t *testing.T) {
	parent := t.TempDir()
	root := filepath.Join(parent, "tree")
	if err := os.MkdirAll(root+strings.Repeat("/d", maxDepth+2), 0o700); err != nil {
		t.Fatal(err)
	}
	taken := filepath.Join(root, ".nfs-operator-deep-1")
	if err := os.WriteFile(taken, []byte("kept"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	r := remover{ctx: t.Context(), pace: unpaced, root: dir, rename: func(from int, name string, to int, target string, flags uint) error {
		if flags != 0 {
			return unix.EINVAL
		}
		return unix.Renameat2(from, name, to, target, flags)
	}}
	if err := r.moveUp(dir, "d"); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(taken); err != nil || string(text) != "kept" {
		t.Errorf("a file was replaced: %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(root, ".nfs-operator-deep-2", "d")); err != nil || r.moved != 1 {
		t.Errorf("%d moved, %v", r.moved, err)
	}
}

func TestRemoveTreeFollowsNoLinkInItsPlace(t *testing.T) {
	parent, other := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(other, filepath.Join(parent, "tree")); err != nil {
		t.Fatal(err)
	}
	var fs *Filesystem
	for _, name := range []string{"tree", "..", "../x", "/etc"} {
		_ = fs.RemoveTree(t.Context(), parent, name, unpaced) // refused or not there, in any case nothing is removed
	}
	if _, err := os.Stat(filepath.Join(other, "file")); err != nil {
		t.Error(err)
	}
}
