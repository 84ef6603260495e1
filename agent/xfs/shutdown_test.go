package xfs

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
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

func TestWhoHasMadeAFilesystemReadOnly(t *testing.T) {
	sys := t.TempDir()
	for device, errors := range map[string]string{"dm-1": "0\n", "sda1": "3\n"} {
		if err := os.MkdirAll(filepath.Join(sys, "fs/ext4", device), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sys, "fs/ext4", device, "errors_count"), []byte(errors), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for number, device := range map[string]string{"253:1": "virtual/block/dm-1", "8:1": "pci/block/sda/sda1"} {
		if err := os.MkdirAll(filepath.Join(sys, "devices", device), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(sys, "dev/block"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("../../devices", device), filepath.Join(sys, "dev/block", number)); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct {
		info  mountinfo.Info
		asked bool
	}{
		"writable":                           {mountinfo.Info{FSType: "xfs", Options: "rw,noatime", VFSOptions: "rw,prjquota,errors=ro"}, false},
		"mounted so":                         {mountinfo.Info{FSType: "xfs", Options: "ro,noatime", VFSOptions: "ro,prjquota"}, true},
		"a mount of what is writable":        {mountinfo.Info{FSType: "xfs", Options: "ro", VFSOptions: "rw"}, true},
		"mounted so, in a container":         {mountinfo.Info{FSType: "xfs", Options: "rw", VFSOptions: "ro"}, true},
		"ext4, mounted so, in a container":   {mountinfo.Info{FSType: "ext4", Major: 253, Minor: 1, Options: "rw", VFSOptions: "ro"}, true},
		"ext4, after an error":               {mountinfo.Info{FSType: "ext4", Major: 8, Minor: 1, Options: "rw", VFSOptions: "ro"}, false},
		"ext4, mounted so, after an error":   {mountinfo.Info{FSType: "ext4", Major: 8, Minor: 1, Options: "ro", VFSOptions: "ro"}, true},
		"ext4, writable after an error":      {mountinfo.Info{FSType: "ext4", Major: 8, Minor: 1, Options: "rw", VFSOptions: "rw"}, false},
		"ext4 of which nothing can be known": {mountinfo.Info{FSType: "ext4", Major: 9, Minor: 9, Options: "rw", VFSOptions: "ro"}, false},
	} {
		if got := askedReadOnly(&c.info, sys); got != c.asked {
			t.Errorf("%s: asked for: %t", name, got)
		}
	}
}
