//go:build vm && long

package agent

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestCopyOfATreeThatChanges changes a tree at the moment when the copy has looked at one of its entries. What has a name all the time, or
// gets another in the same directory, is in the copy.
func TestCopyOfATreeThatChanges(t *testing.T) {
	dir := bareDisk(t, host.DiskSmall)
	for name, c := range map[string]struct {
		make   func(in func(...string) string) error
		at     string // what is changed when the copy has looked at this, and not touched it yet
		change func(in func(...string) string) error
		want   []string
	}{
		"a link becomes a directory": {
			func(in func(...string) string) error { return os.Symlink("x", in("1")) }, "1",
			func(in func(...string) string) error {
				return errors.Join(os.Remove(in("1")), os.Mkdir(in("1"), 0o700))
			},
			[]string{"1 -> x"},
		},
		"a link goes": {
			func(in func(...string) string) error { return os.Symlink("x", in("1")) }, "1",
			func(in func(...string) string) error { return os.Remove(in("1")) },
			[]string{"1 -> x"},
		},
		"a file goes": {
			func(in func(...string) string) error { return os.WriteFile(in("1"), []byte("one"), 0o600) }, "1",
			func(in func(...string) string) error { return os.Remove(in("1")) },
			[]string{"1 one"},
		},
		"a directory goes": {
			func(in func(...string) string) error { return os.Mkdir(in("1"), 0o700) }, "1",
			func(in func(...string) string) error { return os.Remove(in("1")) },
			[]string{"1"},
		},
		"a file is replaced by another": {
			func(in func(...string) string) error { return os.WriteFile(in("1"), []byte("one"), 0o600) }, "1",
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("2"), []byte("two"), 0o600), os.Rename(in("2"), in("1")))
			},
			[]string{"1 one"},
		},
		"a file that has not been looked at is replaced by another": {
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("1"), []byte("one"), 0o600), os.WriteFile(in("2"), []byte("two"), 0o600))
			}, "1",
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("3"), []byte("three"), 0o600), os.Rename(in("3"), in("2")))
			},
			[]string{"1 one", "2 three"},
		},
		"a file with two names is replaced by another": {
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("1"), []byte("one"), 0o600), os.Link(in("1"), in("2")))
			}, "1",
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("3"), []byte("three"), 0o600), os.Rename(in("3"), in("1")))
			},
			[]string{"1 one", "2 one"},
		},
		"a file is renamed": {
			func(in func(...string) string) error { return os.WriteFile(in("1"), []byte("one"), 0o600) }, "1",
			func(in func(...string) string) error { return os.Rename(in("1"), in("2")) },
			[]string{"1 one", "2 one"},
		},
		"a file that has not been looked at is renamed": {
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("1"), []byte("one"), 0o600), os.WriteFile(in("2"), []byte("two"), 0o600))
			}, "1",
			func(in func(...string) string) error { return os.Rename(in("2"), in("3")) },
			[]string{"1 one", "3 two"},
		},
		"a directory that has not been looked at is renamed": {
			func(in func(...string) string) error {
				return errors.Join(os.WriteFile(in("1"), []byte("one"), 0o600), os.Mkdir(in("2"), 0o700), os.WriteFile(in("2", "a"), []byte("a"), 0o600))
			}, "1",
			func(in func(...string) string) error { return os.Rename(in("2"), in("3")) },
			[]string{"1 one", "3", "3/a a"},
		},
		"a directory is renamed while it is read": {
			func(in func(...string) string) error {
				return errors.Join(os.Mkdir(in("1"), 0o700), os.WriteFile(in("1", "a"), []byte("a"), 0o600), os.WriteFile(in("1", "b"), []byte("b"), 0o600))
			}, "1/a",
			func(in func(...string) string) error { return os.Rename(in("1"), in("2")) },
			[]string{"1", "1/a a", "1/b b"},
		},
		"a directory becomes a link to another volume": {
			func(in func(...string) string) error { return os.Mkdir(in("1"), 0o700) }, "1",
			func(in func(...string) string) error {
				return errors.Join(os.Remove(in("1")), os.Symlink("../outside", in("1")))
			},
			[]string{"1"},
		},
		"a file becomes a link to another volume": {
			func(in func(...string) string) error { return os.WriteFile(in("1"), []byte("one"), 0o600) }, "1",
			func(in func(...string) string) error {
				return errors.Join(os.Remove(in("1")), os.Symlink("../outside/secret", in("1")))
			},
			[]string{"1 one"},
		},
		"a file becomes a pipe": {
			func(in func(...string) string) error { return os.WriteFile(in("1"), []byte("one"), 0o600) }, "1",
			func(in func(...string) string) error {
				return errors.Join(os.Remove(in("1")), unix.Mkfifo(in("1"), 0o600))
			},
			[]string{"1 one"},
		},
		"a directory goes while it is read": {
			func(in func(...string) string) error {
				return errors.Join(os.Mkdir(in("1"), 0o700), os.WriteFile(in("1", "file"), nil, 0o600))
			}, "1/file",
			func(in func(...string) string) error { return os.RemoveAll(in("1")) },
			[]string{"1", "1/file"},
		},
		"another file takes the number of one with two names": {
			func(in func(...string) string) error {
				return errors.Join(os.Mkdir(in("1"), 0o700), os.WriteFile(in("1", "a"), []byte("former"), 0o600), os.Link(in("1", "a"), in("1", "b")), os.Mkdir(in("2"), 0o700))
			}, "2",
			func(in func(...string) string) error {
				number := inodeNumber(in("1", "a"))
				err := errors.Join(os.Remove(in("1", "a")), os.Remove(in("1", "b")))
				latter := in("1", "latter")
				for try := 0; err == nil && inodeNumber(latter) != number; try++ { // XFS gives numbers back after a moment
					if try == 1000 {
						return errors.New("no new file has the number: this shows nothing")
					}
					latter = in("1", fmt.Sprint("latter-", try))
					err = os.WriteFile(latter, []byte("latter"), 0o600)
				}
				return errors.Join(err, os.Link(latter, in("2", "a")), os.Link(latter, in("2", "b")))
			},
			[]string{"1", "1/a", "1/b", "2", "2/a latter", "2/b latter"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := func(elem ...string) string { return filepath.Join(append([]string{dir, "source"}, elem...)...) }
			target := filepath.Join(dir, "target")
			outside := filepath.Join(dir, "outside")
			if err := errors.Join(os.Mkdir(in(), 0o700), os.Mkdir(outside, 0o700), os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600), c.make(in)); err != nil {
				t.Fatal(err)
			}
			order := walkOrder(t, in())
			fs, err := xfs.Use(dir)
			if err != nil {
				t.Fatal(err)
			}
			err = fs.CopyTree(t.Context(), in(), target, 77, func(seen int) {
				if seen <= len(order) && order[seen-1] == c.at {
					if err := c.change(in); err != nil {
						t.Error(err)
					}
				}
			})
			if err != nil {
				t.Error(err)
			}
			if got := contents(t, target); !slices.Equal(got, c.want) {
				t.Errorf("copied %q, want %q", got, c.want)
			}
			if err := errors.Join(fs.Close(), os.RemoveAll(in()), os.RemoveAll(target), os.RemoveAll(outside)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// TestCopyOfALargeDirectoryWhoseNamesAreTakenAgain: where a directory takes several reads, XFS lists a name again that was given up and taken behind the
// reader. And a copy ends at its project's limits.
func TestCopyOfALargeDirectoryWhoseNamesAreTakenAgain(t *testing.T) {
	const files = 2000
	dir := bareDisk(t, host.DiskSmall)
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "target")
	in := func(name string) string { return filepath.Join(source, name) }
	if err := os.Mkdir(source, 0o700); err != nil {
		t.Fatal(err)
	}
	for i := range files {
		if err := os.WriteFile(in(fmt.Sprint(i)), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	fs, err := xfs.Use(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	order := walkOrder(t, source)
	taken := order[:300] // all read when the copy has come to the last of them
	turned := false
	err = fs.CopyTree(t.Context(), source, target, 77, func(seen int) {
		if seen != len(taken) || turned {
			return
		}
		turned = true
		for _, name := range taken {
			if err := errors.Join(os.Rename(in(name), in(name+".1")), os.WriteFile(in(name), []byte("y"), 0o600)); err != nil {
				t.Error(err)
			}
		}
	})
	if err != nil || !turned {
		t.Fatalf("turned %v: %v", turned, err)
	}
	for _, name := range order {
		if _, err := os.Stat(filepath.Join(target, name)); err != nil {
			t.Error(err)
		}
	}

	for what, c := range map[string]struct{ bytes, inodes int64 }{"bytes": {files / 2 * 4096, 0}, "inodes": {0, files / 2}} {
		if err := fs.SetLimits(78, c.bytes, c.inodes); err != nil {
			t.Fatal(err)
		}
		err := fs.CopyTree(t.Context(), source, target+"-"+what, 78, func(int) {})
		if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) {
			t.Errorf("a copy that takes more %s than it may: %v", what, err)
		}
		if err := errors.Join(os.RemoveAll(target+"-"+what), fs.SetLimits(78, 0, 0)); err != nil {
			t.Fatal(err)
		}
	}
}
