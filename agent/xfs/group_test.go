package xfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSetGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const gid = 4711
	outside := filepath.Join(t.TempDir(), "outside")
	root := t.TempDir()
	write := func(path string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(outside, 0o600)
	if err := os.MkdirAll(filepath.Join(root, "a", "b"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(filepath.Join(root, "a", "file"), 0o600)
	write(filepath.Join(root, "a", "b", "tool"), 0o755|os.ModeSetuid)
	write(filepath.Join(root, "closed"), 0)
	for name, target := range map[string]string{"out": outside, "up": "..", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(root, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}

	fs := &Filesystem{}
	cut, cancel := context.WithCancel(t.Context())
	cancel()
	if err := fs.SetGroup(cut, root, gid); !errors.Is(err, context.Canceled) {
		t.Fatalf("cut off: %v", err)
	}
	if done, err := fs.HasGroup(root, gid); err != nil || done {
		t.Errorf("cut off, and it says %v, %v", done, err)
	}
	for range 2 { // the second finds nothing to do
		if err := fs.SetGroup(t.Context(), root, gid); err != nil {
			t.Fatal(err)
		}
		if done, err := fs.HasGroup(root, gid); err != nil || !done {
			t.Fatalf("HasGroup = %v, %v", done, err)
		}
		for path, want := range map[string]string{
			".": "4711 42770", "a": "4711 42770", "a/b": "4711 42770", "a/file": "4711 100660", "a/b/tool": "4711 104775",
			"closed": "4711 100060", "pipe": "4711 10660", "out": "4711 120777", outside: "0 100600",
		} {
			if !filepath.IsAbs(path) {
				path = filepath.Join(root, path)
			}
			var st unix.Stat_t
			if err := unix.Lstat(path, &st); err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%d %o", st.Gid, st.Mode); got != want && (path != root || got != "4711 42775") {
				t.Errorf("%s has group and mode %s, want %s", path, got, want)
			}
		}
	}
}

func TestSetGroupOfADeepTree(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const gid, levels = 4711, 1000
	root := t.TempDir()
	deep := root + strings.Repeat("/d", levels)
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(deep+"/file", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 300, Max: before.Max}); err != nil {
		t.Fatal(err)
	}
	err := (&Filesystem{}).SetGroup(t.Context(), root, gid)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &before); err != nil {
		t.Fatal(err)
	}
	if err != nil {
		t.Fatalf("%.1000s", err.Error())
	}
	for path := deep + "/file"; len(path) >= len(root); path = filepath.Dir(path) {
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil || st.Gid != gid {
			t.Fatalf("%d below the root: group %d, %v", (len(path)-len(root))/2, st.Gid, err)
		}
	}
}
