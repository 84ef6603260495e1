package engine

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// What is not certainly empty holds data: a backend with data is not deleted.
func TestExportsThatHoldSomething(t *testing.T) {
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	for _, err := range []error{
		os.Mkdir(at("empty"), 0o700), os.MkdirAll(at("full/of"), 0o700), os.WriteFile(at("file"), nil, 0o600),
		os.Symlink("empty", at("link")), os.Symlink("/", at("outside")), unix.Mkfifo(at("pipe"), 0o600),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]bool{
		"empty": true, "missing": true, "missing/below": true, "full": false, "file": false, "pipe": false, "outside": false, "../" + filepath.Base(root): false,
	} {
		if got := emptyBelow(root, path); got != want {
			t.Errorf("%s: empty %v, want %v", path, got, want)
		}
	}
}
