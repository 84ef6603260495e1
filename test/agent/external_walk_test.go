//go:build vm

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/nas"
)

// mountAsAgent mounts a share without caches.
func mountAsAgent(t *testing.T, path string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount(nas.Address+":"+path, dir, "nfs4", 0, "vers=4.2,nosharecache,actimeo=0,addr="+nas.Address); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// once is a context that does something when it is asked for the first time from within a directory.
type once struct {
	context.Context //nolint:containedctx // one test's
	do              func()
}

func (o once) Err() error {
	o.do()
	return o.Context.Err()
}

// TestWalksGoOnWhenClientsDelete: what another client deletes is stale to the agent, and the rest is copied, given to a group and removed.
func TestWalksGoOnWhenClientsDelete(t *testing.T) {
	_, n := external(t, nas.Options{})
	server, path := n.MakeDir(t, "share", 0o755)
	fill := func(tree string) {
		t.Helper()
		for _, dir := range []string{"a", "b"} {
			if err := os.MkdirAll(filepath.Join(server, tree, dir, "sub"), 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				if err := os.WriteFile(filepath.Join(server, tree, dir, fmt.Sprint(i)), []byte(dir), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	fill("source")
	fill("given")
	mounted := mountAsAgent(t, path)
	fs, err := xfs.Use(mounted)
	if err != nil {
		t.Fatal(err)
	}
	defer fs.Close()
	deleter := func(tree string, after int) (seen func()) {
		var all sync.Once
		count := 0
		return func() {
			if count++; count > after { // within the first of the two directories, or in the second
				all.Do(func() {
					if err := os.RemoveAll(filepath.Join(server, tree, "a")); err != nil {
						t.Error(err)
					}
				})
			}
		}
	}
	for _, after := range []int{5, 60} {
		fill("source")
		target := fmt.Sprintf("copy-%d", after)
		seen := deleter("source", after)
		if err := fs.CopyTree(t.Context(), filepath.Join(mounted, "source"), filepath.Join(mounted, target), 0, func(int) { seen() }); err != nil {
			t.Errorf("copy: %v", err)
		}
		if text, err := os.ReadFile(filepath.Join(server, target, "b", "49")); err != nil || string(text) != "b" {
			t.Errorf("copied %q, %v", text, err)
		}
		copied, err := filepath.Glob(filepath.Join(server, target, "a", "[0-9]*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range copied {
			if text, err := os.ReadFile(file); err != nil || string(text) != "a" {
				t.Errorf("%s was copied in part: %q, %v", file, text, err)
			}
		}
		fill("given")
		if err := fs.SetGroup(once{t.Context(), deleter("given", after)}, filepath.Join(mounted, "given"), uint32(4000+after)); err != nil {
			t.Errorf("group: %v", err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(server, "given", "b", "49"), &st); err != nil || st.Gid != uint32(4000+after) {
			t.Errorf("group %d, %v", st.Gid, err)
		}
	}

	copyWithNumbersUsedAgain(t, fs, server, mounted)

	deep := filepath.Join(server, "source", strings.Repeat("d/", 300))
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := fs.RemoveTree(t.Context(), mounted, "source", func(context.Context) error { return nil }); err != nil {
		t.Errorf("remove: %v", err)
	}
	if _, err := os.Stat(filepath.Join(server, "source")); !os.IsNotExist(err) {
		t.Errorf("not removed: %v", err)
	}
}

// copyWithNumbersUsedAgain gives the number of a file with two names, when it has been copied, to another with two names: a copy that tells
// files by their numbers would have the former's bytes under the latter's names.
func copyWithNumbersUsedAgain(t *testing.T, fs *xfs.Filesystem, server, mounted string) {
	t.Helper()
	in := func(name string) string { return filepath.Join(server, "numbers", name) }
	write := func(name, text string) error {
		return errors.Join(os.WriteFile(in(name), []byte(text), 0o644), os.Link(in(name), in(name+"-again")))
	}
	if err := errors.Join(os.MkdirAll(in("1"), 0o755), os.Mkdir(in("2"), 0o755), write("1/a", "former")); err != nil {
		t.Fatal(err)
	}
	order := walkOrder(t, filepath.Join(mounted, "numbers"))
	first, second := "1", "2"
	if order[0] == "2" { // the directory that is read first has to hold the former
		if err := errors.Join(os.Rename(in("1"), in("x")), os.Rename(in("2"), in("1")), os.Rename(in("x"), in("2"))); err != nil {
			t.Fatal(err)
		}
		first, second = "2", "1"
	}
	at := slices.Index(walkOrder(t, filepath.Join(mounted, "numbers")), second) + 1
	count := 0
	err := fs.CopyTree(t.Context(), filepath.Join(mounted, "numbers"), filepath.Join(mounted, "numbers-copied"), 0, func(int) {
		if count++; count != at {
			return
		}
		number := inodeNumber(in(first + "/a"))
		if err := errors.Join(os.Remove(in(first+"/a")), os.Remove(in(first+"/a-again"))); err != nil {
			t.Error(err)
		}
		// XFS gives numbers back after a moment, and the server may keep files open for a while.
		for begin, try := time.Now(), 0; time.Since(begin) < time.Minute; try++ {
			spare, name := in(fmt.Sprint(first, "/spare-", try)), in(second+"/a") // in one directory: XFS has numbers for each
			if err := os.WriteFile(spare, []byte("latter"), 0o644); err != nil {
				t.Error(err)
			}
			if inodeNumber(spare) == number {
				if err := errors.Join(os.Rename(spare, name), os.Link(name, name+"-again")); err != nil {
					t.Error(err)
				}
				return
			}
		}
		t.Error("no new file has the number: this shows nothing")
	})
	if err != nil {
		t.Error(err)
	}
	for _, name := range contents(t, filepath.Join(server, "numbers-copied")) {
		if strings.HasPrefix(name, second+"/") && !strings.HasSuffix(name, " latter") {
			t.Errorf("copied with another file's bytes: %q", name)
		}
	}
	if got := len(contents(t, filepath.Join(server, "numbers-copied"))); got < 6 {
		t.Errorf("copied %d entries", got)
	}
}
