package xfs

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// makeDeep makes so many directories in each other, in a directory that is there.
func makeDeep(t *testing.T, root string, levels int) {
	t.Helper()
	at, err := os.OpenFile(root, unix.O_DIRECTORY, 0)
	for range levels {
		if err == nil {
			err = unix.Mkdirat(int(at.Fd()), "d", 0o700)
		}
		if err != nil {
			t.Fatal(err)
		}
		above := at
		at, err = openBeneath(above, "d", unix.O_DIRECTORY)
		_ = above.Close()
	}
	_ = at.Close()
}

// TestEachPieceOfADeepTreeIsOpenedFromTheOneAbove wants a time that grows with the depth, and not with its square: a tenant can make
// 100,000 levels in minutes, and whoever begins at the root for each piece of them opens 50 million directories.
func TestEachPieceOfADeepTreeIsOpenedFromTheOneAbove(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const levels = 20 * pieceDepth
	parent := t.TempDir()
	makeDeep(t, parent, levels)
	root, err := os.Open(filepath.Join(parent, "d"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	g := grouper{gid: 4711}
	g.later.begin(root, nil)
	pieces := 0
	for ; len(g.later.waiting) > 0; pieces++ {
		waits := g.later.waiting[0]
		if opens := len(waits.names(waits.piece.dir)); opens > pieceDepth+1 {
			t.Fatalf("piece %d is %d directories away", pieces, opens)
		}
		d, err := g.later.next()
		if err == nil {
			err = g.tree(t.Context(), d)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if pieces < levels/pieceDepth-1 || g.later.open != 0 {
		t.Errorf("%d pieces, %d starts are open", pieces, g.later.open)
	}
	if err := (&Filesystem{}).RemoveTree(t.Context(), parent, "d", unpaced); err != nil {
		t.Error(err)
	}
}

// TestManyDeepBranchesAreAllFound branches at each start of a piece, where more than one waits.
func TestManyDeepBranchesAreAllFound(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files away")
	}
	const gid, pieces = 4711, 5
	root := filepath.Join(t.TempDir(), "tree")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	var ends []string
	for dir := root; len(ends) < 2*pieces; {
		makeDeep(t, dir, pieceDepth)
		for range pieceDepth {
			dir = filepath.Join(dir, "d")
		}
		for _, name := range []string{"left", "right"} {
			if err := os.MkdirAll(filepath.Join(dir, name, "end"), 0o700); err != nil {
				t.Fatal(err)
			}
			ends = append(ends, filepath.Join(dir, name, "end"))
		}
	}
	fs := &Filesystem{}
	if err := fs.SetGroup(t.Context(), root, gid); err != nil {
		t.Fatal(err)
	}
	for _, path := range ends {
		if done, err := fs.HasGroup(path, gid); err != nil || !done {
			t.Errorf("%d bytes below the root: %v, %v", len(path)-len(root), done, err)
		}
	}
}

// TestStaleEntriesAreGoneUnlessTheShareIs: an NFS client says ESTALE of a file that another has removed, and of all of them when the share
// is lost.
func TestStaleEntriesAreGoneUnlessTheShareIs(t *testing.T) {
	root, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var l later
	l.begin(root, nil)
	stale := fmt.Errorf("entry: %w", unix.ESTALE)
	for err, want := range map[error]bool{nil: false, stale: true, errVanished: true, unix.EIO: false} {
		if got := l.gone(err); got != want {
			t.Errorf("%v: gone is %v", err, got)
		}
	}
	_ = root.Close()
	if l.gone(stale) {
		t.Error("gone, although the root cannot be asked")
	}
}

func TestAttributesThatCannotBeReadAreAnError(t *testing.T) {
	if err := copyXattrs(-1, -1); !errors.Is(err, unix.EBADF) {
		t.Errorf("error %v", err)
	}
}
