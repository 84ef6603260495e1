package xfs

import (
	"context"
	"os"
	"path/filepath"
	"testing"
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
