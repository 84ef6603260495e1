package xfs

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TestCopyLeavesOutNoNameThatIsThere renames at the moment when the copy has looked at the first of two entries. Files are empty, so that
// any file system will do, and told apart by their modes. Contents and kinds are for TestCopyOfATreeThatChanges.
func TestCopyLeavesOutNoNameThatIsThere(t *testing.T) {
	file := func(path string) error { return os.WriteFile(path, nil, 0o600) }
	directory := func(path string) error {
		return errors.Join(os.Mkdir(path, 0o700), os.WriteFile(filepath.Join(path, "in"), nil, 0o600))
	}
	replace := func(path string) error {
		return errors.Join(os.WriteFile(path+"-new", nil, 0o640), os.Rename(path+"-new", path))
	}
	for name, c := range map[string]struct {
		entry  func(path string) error
		change func(first, second, third string) error
		want   []string
	}{
		"replaced":                        {file, func(first, _, _ string) error { return replace(first) }, []string{"first 600", "second 600"}},
		"replaced before it is looked at": {file, func(_, second, _ string) error { return replace(second) }, []string{"first 600", "second 640"}},
		"renamed":                         {file, func(first, _, third string) error { return os.Rename(first, third) }, []string{"first 600", "second 600", "third 600"}},
		"renamed before it is looked at":  {file, func(_, second, third string) error { return os.Rename(second, third) }, []string{"first 600", "third 600"}},
		"a directory is renamed before it is looked at": {
			directory, func(_, second, third string) error { return os.Rename(second, third) }, []string{"first 700", "first/in 600", "third 700", "third/in 600"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "target")
			if err := errors.Join(os.Mkdir(source, 0o700), c.entry(filepath.Join(source, "x")), c.entry(filepath.Join(source, "y"))); err != nil {
				t.Fatal(err)
			}
			dir, err := os.Open(source)
			if err != nil {
				t.Fatal(err)
			}
			order, err := dir.Readdirnames(-1)
			_ = dir.Close()
			if err != nil || len(order) != 2 {
				t.Fatal(order, err)
			}
			called := map[string]string{order[0]: "first", order[1]: "second", "z": "third"}
			err = (&Filesystem{}).CopyTree(t.Context(), source, target, 0, func(seen int) {
				if seen == 1 {
					if err := c.change(filepath.Join(source, order[0]), filepath.Join(source, order[1]), filepath.Join(source, "z")); err != nil {
						t.Error(err)
					}
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := described(t, target, called); !slices.Equal(got, c.want) {
				t.Errorf("copied %q, want %q", got, c.want)
			}
		})
	}
}

// described are the entries of a directory, and of those in it, with their modes.
func described(t *testing.T, root string, called map[string]string) (all []string) {
	t.Helper()
	entries, err := os.ReadDir(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		name := called[e.Name()]
		all = append(all, fmt.Sprintf("%s %o", name, info.Mode().Perm()))
		if e.IsDir() {
			for _, below := range described(t, filepath.Join(root, e.Name()), map[string]string{"in": "in"}) {
				all = append(all, name+"/"+below)
			}
		}
	}
	slices.Sort(all)
	return all
}

// TestCopyOfADirectoryThatNeverStandsStill renames another file for each that is copied: each is in the copy under one of its names, or several.
func TestCopyOfADirectoryThatNeverStandsStill(t *testing.T) {
	const files = 200
	source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "target")
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	paths := make([]string, files)
	for i := range paths {
		paths[i] = filepath.Join(source, fmt.Sprint(i))
		when := time.Unix(int64(i), 0) // tells it from the others
		if err := errors.Join(os.WriteFile(paths[i], nil, 0o600), os.Chtimes(paths[i], when, when)); err != nil {
			t.Fatal(err)
		}
	}
	renames := 0
	err := (&Filesystem{}).CopyTree(t.Context(), source, target, 0, func(int) {
		renames++
		i := rand.IntN(files)
		to := filepath.Join(source, fmt.Sprintf("%x", rand.Uint64()))
		if err := os.Rename(paths[i], to); err != nil {
			t.Error(err)
		}
		paths[i] = to
	})
	if err != nil {
		t.Fatal(err)
	}
	copied, err := os.ReadDir(target)
	if err != nil {
		t.Fatal(err)
	}
	found := map[int64]bool{}
	for _, e := range copied {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		found[info.ModTime().Unix()] = true
	}
	if len(found) != files {
		t.Errorf("%d of %d files are in the copy, after %d renames", len(found), files, renames)
	}
}
