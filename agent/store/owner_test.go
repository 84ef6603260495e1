package store

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestShareBelongsToItsOwner(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"lost+found", ".snapshot", metaDir} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if _, found, err := Identify(root); found || err != nil {
		t.Errorf("a new share: %v, %v", found, err)
	}
	s, err := Open(root, Init{Owner: "one"})
	if err != nil {
		t.Fatal(err)
	}
	id := s.Server().ServerID
	for _, try := range []struct {
		owner, takeOver string
		want            error
		left            string
	}{
		{"one", "", nil, "one"},
		{"two", "", ErrOwned, "one"},
		{"two", "three", ErrOwned, "one"},
		{"two", "one", nil, "two"},
		{"two", "one", nil, "two"},
		{"one", "", ErrOwned, "two"},
	} {
		if err := s.Claim(try.owner, try.takeOver); !errors.Is(err, try.want) {
			t.Errorf("%+v: %v", try, err)
		}
		if got, found, err := Identify(root); err != nil || !found || got.Owner != try.left || got.ServerID != id {
			t.Errorf("%+v: share says %+v, %v", try, got, err)
		}
		if s, err = Open(root, Init{Owner: try.owner}); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that was copied to a share has no owner: nobody takes it by saying nothing.
func TestShareWithoutOwnerIsNobodys(t *testing.T) {
	s := openStore(t, t.TempDir())
	if err := s.Claim("one", ""); !errors.Is(err, ErrOwned) {
		t.Errorf("claimed: %v", err)
	}
}

// Whose a disk is can be told from its superblock.
func TestIdentityByFilesystem(t *testing.T) {
	id := ServerIDOf("01234567-89ab-cdef-0123-456789abcdef")
	if again, other := ServerIDOf("01234567-89ab-cdef-0123-456789abcdef"), ServerIDOf("f1234567-89ab-cdef-0123-456789abcdef"); id != again || id == other {
		t.Errorf("%s, %s, and of another %s", id, again, other)
	}
	root := t.TempDir()
	if _, err := Open(root, Init{ServerID: id}); err != nil {
		t.Fatal(err)
	}
	if got, _, err := Identify(root); err != nil || got.ServerID != id {
		t.Errorf("recorded %q, %v", got.ServerID, err)
	}
	if random := openStore(t, t.TempDir()).Server().ServerID; random == "" || len(random) != len(id) {
		t.Errorf("a random one is %q", random)
	}
}

func TestShareWithOthersDataIsForeign(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "homes"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Identify(root); !errors.Is(err, ErrForeign) {
		t.Errorf("identify: %v", err)
	}
	if _, err := Open(root, Init{Owner: "one"}); !errors.Is(err, ErrForeign) {
		t.Errorf("open: %v", err)
	}
	if _, err := Open(root, Init{FilesystemID: "uuid"}); !errors.Is(err, ErrForeign) {
		t.Errorf("open a disk: %v", err)
	}
}

func TestWhatMkfsHasMadeIsNotForeign(t *testing.T) {
	disk := t.TempDir()
	if err := os.Mkdir(filepath.Join(disk, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(disk, Init{}); err != nil {
		t.Error(err)
	}
}
