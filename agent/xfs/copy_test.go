package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// TestCopyOfDirectoriesThatAreMovedIsNotMultiplied gives each directory on a path another name or place whenever the copy has looked at something:
// met again and again, it would be copied as often, and so would each one in it.
func TestCopyOfDirectoriesThatAreMovedIsNotMultiplied(t *testing.T) {
	const levels, files = 4, 20
	for name, move := range map[string]func(dir string, turn int) string{
		"renamed": func(dir string, turn int) string { return filepath.Join(filepath.Dir(dir), fmt.Sprint("d", turn)) },
		"moved to its neighbour": func(dir string, turn int) string {
			return filepath.Join(filepath.Dir(filepath.Dir(dir)), fmt.Sprint(turn%8), "d")
		},
	} {
		t.Run(name, func(t *testing.T) {
			source, target := filepath.Join(t.TempDir(), "source"), filepath.Join(t.TempDir(), "target")
			// At each level a directory lies in one of eight.
			at := make([]string, levels)
			parent := source
			for i := range levels {
				for neighbour := range 8 {
					if err := os.MkdirAll(filepath.Join(parent, fmt.Sprint(neighbour)), 0o700); err != nil {
						t.Fatal(err)
					}
				}
				at[i] = filepath.Join("0", "d")
				parent = filepath.Join(parent, at[i])
				if err := os.Mkdir(parent, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			for i := range files {
				if err := os.WriteFile(filepath.Join(parent, fmt.Sprint("file", i)), nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			before, turn := countEntries(t, source), 0
			err := (&Filesystem{}).CopyTree(t.Context(), source, target, 0, func(int) {
				turn++
				above := source
				for i := range at {
					from := filepath.Join(above, at[i])
					to := move(from, turn)
					if err := os.Rename(from, to); err != nil {
						t.Error(err)
					}
					at[i], _ = filepath.Rel(above, to)
					above = to
				}
			})
			if err != nil {
				t.Fatal(err)
			}
			if got := countEntries(t, target); got > 2*before {
				t.Errorf("the copy of %d entries has %d, after %d turns", before, got, turn)
			}
		})
	}
}

func countEntries(t *testing.T, root string) (n int) {
	t.Helper()
	if err := filepath.WalkDir(root, func(string, fs.DirEntry, error) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestANameThatIsReadTwiceIsCopiedOnce: a file system lists a name twice that is given up and taken again behind the reader.
func TestANameThatIsReadTwiceIsCopiedOnce(t *testing.T) {
	source, target := t.TempDir(), t.TempDir()
	in := func(name string) string { return filepath.Join(source, name) }
	if err := errors.Join(
		os.WriteFile(in("file"), nil, 0o600), os.WriteFile(in("one"), nil, 0o600), os.Link(in("one"), in("two")), os.Symlink("file", in("link")),
		os.Mkdir(in("directory"), 0o700), os.WriteFile(in("directory/file"), nil, 0o600), unix.Mkfifo(in("pipe"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	to, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	c := copier{target: to, links: map[inode]entry{}, copied: map[inode]struct{}{}, report: func(int) {}, fail: cancel, work: make(chan func(), 100)}
	c.later.begin(from, to)
	d := &directory{from: from, to: to}
	for range 2 {
		if err := c.names(ctx, d, false); err != nil {
			t.Error(err)
		}
		if _, err := from.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		clear(c.copied) // as if another directory had the name now
		clear(c.links)
	}
	close(c.work)
	for do := range c.work {
		do()
	}
	if err := context.Cause(ctx); err != nil {
		t.Error(err)
	}
	if got, want := countEntries(t, target), countEntries(t, source); got != want {
		t.Errorf("the copy has %d entries, want %d", got, want)
	}
}
