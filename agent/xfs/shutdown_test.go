package xfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// What a file system says that has shut down is seen by tests in virtual machines.
func TestAFilesystemThatRuns(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	before, err := os.Stat(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file, filepath.Join(dir, "missing")} {
		if err := CheckRunning(path); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	if after, err := os.Stat(file); err != nil || after.Size() != before.Size() || !after.ModTime().Equal(before.ModTime()) {
		t.Errorf("a look changed the file: %v, %v", after, err)
	}
	for errno, down := range map[error]bool{syscall.EIO: true, syscall.EUCLEAN: true, syscall.EROFS: true, syscall.ESHUTDOWN: true, syscall.EMFILE: false, syscall.ENOENT: false} {
		if err := shutDown(dir, errno); errors.Is(err, ErrShutDown) != down || down && !errors.Is(err, errno) {
			t.Errorf("%v: %v", errno, err)
		}
	}
}
