//go:build vm && long

package agent

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// noExports stands for a Ganesha that takes everything.
type noExports struct{}

func (noExports) Serving() bool                         { return true }
func (noExports) Sync(context.Context, ...string) error { return nil }

// bareDisk formats a disk and mounts it as the agent does, for an engine without Ganesha.
func bareDisk(t *testing.T, device string) (dir string) {
	t.Helper()
	host.Wipe(t, device)
	if out, err := exec.Command("mkfs.xfs", "-q", "-f", "-L", xfs.Label, device).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v: %s", err, out)
	}
	dir = filepath.Join("/mnt", "bare-"+filepath.Base(device))
	if err := xfs.Mount(device, dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := xfs.Unmount(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// disk is an engine on a mounted disk.
type disk struct {
	*engine.Engine
	fs   *xfs.Filesystem
	book *access.Book
	stop func() // ends the work in the background
}

// openDisk does what a start of the agent does, up to the point where Ganesha is started.
func openDisk(dir string, log logr.Logger) (*disk, error) {
	fs, err := xfs.Use(dir)
	if err != nil {
		return nil, err
	}
	s, err := store.Open(dir, store.Init{FilesystemID: "test"})
	if err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	d := &disk{fs: fs, book: access.New(s, 0, time.Now, logr.Discard())}
	d.Engine = engine.New(engine.Options{
		Store: s, Filesystem: fs, Access: d.book, Exports: noExports{}, OvercommitPercent: 1000, Now: time.Now, Log: log,
	})
	if err := d.Repair(); err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.Run(ctx)
	}()
	d.stop = func() { cancel(); <-done }
	return d, nil
}

func (d *disk) close() error {
	d.stop()
	return d.fs.Close()
}

// onDisk opens the disk, and closes it at the end of the test.
func onDisk(t *testing.T, dir string) *disk {
	t.Helper()
	d, err := openDisk(dir, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return d
}
