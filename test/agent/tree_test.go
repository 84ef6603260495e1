//go:build vm

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func inodeNumber(path string) uint64 {
	var st unix.Stat_t
	_ = unix.Lstat(path, &st)
	return st.Ino
}

// walkOrder are the names below a directory in the order in which a copy comes to them: depth first, as the directory lists them.
func walkOrder(t *testing.T, root string) (order []string) {
	t.Helper()
	var walk func(dir string)
	walk = func(dir string) {
		f, err := os.Open(filepath.Join(root, dir))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		entries, err := f.ReadDir(-1)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			name := filepath.Join(dir, e.Name())
			order = append(order, name)
			if e.IsDir() {
				walk(name)
			}
		}
	}
	walk("")
	return order
}

// contents are the names below a directory, with what is in files that are not empty, and not "former", and where links lead.
func contents(t *testing.T, root string) (names []string) {
	t.Helper()
	for _, name := range walkOrder(t, root) {
		path := filepath.Join(root, name)
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		switch info.Mode().Type() { //nolint:exhaustive // of others the name says enough
		case 0:
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if len(text) > 0 && string(text) != "former" {
				name += " " + string(text)
			}
		case os.ModeSymlink:
			to, _ := os.Readlink(path)
			name += " -> " + to
		}
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
