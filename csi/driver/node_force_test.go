package driver

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// hang makes plain unmounts, and with busy also nothing else, wait for the server.
func (f *fixture) hang(cause error, fileSystemAnswers bool) {
	f.mounts.Before(func(_ context.Context, op, _ string) error {
		switch {
		case op == "unmount":
			return fmt.Errorf("unmount: %w", cause)
		case op == "usage" && !fileSystemAnswers:
			return mount.ErrTimeout
		}
		return nil
	})
}

// A server that is away for a while gets its data when it is back: nothing is thrown away before it must be.
func TestUnmountIsForcedOnlyWhenNobodyWillEverWrite(t *testing.T) {
	tests := map[string]struct {
		cause      error  // of the plain unmount
		agent      error  // of GetUsage; nil answers
		stopped    bool   // the agent does not answer
		gone       string // NFSBackend that was deleted
		patient    bool   // the server has been away for less than GiveUpAfter
		fileSystem bool   // answers
		forced     bool
	}{
		"server away for too long":                 {cause: mount.ErrTimeout, stopped: true, forced: true},
		"server away for a while":                  {cause: mount.ErrTimeout, stopped: true, patient: true},
		"server is there":                          {cause: mount.ErrTimeout},
		"server starts for too long":               {cause: mount.ErrTimeout, agent: status.Error(codes.Unavailable, "starting"), forced: true},
		"volume was deleted":                       {cause: mount.ErrTimeout, agent: status.Error(codes.NotFound, "no volume"), patient: true, forced: true},
		"backend was deleted":                      {cause: mount.ErrTimeout, stopped: true, patient: true, gone: backendName, forced: true},
		"another backend was deleted":              {cause: mount.ErrTimeout, stopped: true, patient: true, gone: "other"},
		"busy, and the server is away":             {cause: mount.ErrBusy, stopped: true, forced: true},
		"agent away, but the NFS server is there":  {cause: mount.ErrTimeout, stopped: true, fileSystem: true},
		"backend deleted, the NFS server is there": {cause: mount.ErrTimeout, stopped: true, patient: true, gone: backendName, fileSystem: true},
		"busy, and the server's NFS works":         {cause: mount.ErrBusy, stopped: true, fileSystem: true},
		"agent refuses, so it is there":            {cause: mount.ErrTimeout, agent: status.Error(codes.PermissionDenied, "no")},
		"other error of the unmount itself":        {cause: context.Canceled, stopped: true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.claim(t, "a", rwx)
			must(t, f.stage(t, c), f.publish(t, c, c.target, false))
			f.node.GiveUpAfter = -1
			if test.patient {
				f.node.GiveUpAfter = giveUpAfter
			}
			f.gone = test.gone
			f.agents[0].Before(func(string) error { return test.agent })
			if test.stopped {
				f.stop[0]()
			}
			f.hang(test.cause, test.fileSystem)
			unpublished, unstaged := f.unpublish(t, c, c.target), f.unstage(t, c)
			if forced := unpublished == nil && unstaged == nil; forced != test.forced {
				t.Fatalf("unpublish: %v, unstage: %v", unpublished, unstaged)
			}
			_, mounted := f.mounted(t, c.staging)
			calls := f.mounts.Calls()
			if mounted == test.forced || slices.Contains(calls, "force "+c.staging) != test.forced || slices.Contains(calls, "force "+c.target) {
				t.Errorf("still mounted: %v, calls %v", mounted, calls)
			}
			if warned := strings.Join(f.events.all(), "\n"); strings.Contains(warned, "may be lost") != test.forced {
				t.Errorf("events: %q", warned)
			}
		})
	}
}

// The kernel takes the mount out of sight, and only then waits for the server.
func TestUnmountThatWritesBackInTheBackground(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c))
	m, _ := f.mounted(t, c.staging)
	held := mount.Filesystem{Device: m.Device, FSID: "fsid-" + m.Device}
	f.mounts.Hold(held)
	f.mounts.Before(func(ctx context.Context, op, target string) error {
		if op != "unmount" {
			return nil
		}
		f.mounts.Before(nil)
		_ = f.mounts.Unmount(ctx, target)
		return mount.ErrTimeout
	})
	must(t, f.unstage(t, c))
	if f.agents[0].Grant(c.id) == nil || len(f.events.all()) > 0 {
		t.Errorf("the access is closed while the kernel writes back; events %v", f.events.all())
	}
	f.mounts.Drop(held)
	eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
}

func TestForcedUnmountKeepsTheGrantWhileTheKernelHoldsTheFilesystem(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c))
	m, _ := f.mounted(t, c.staging)
	held := mount.Filesystem{Device: m.Device, FSID: "fsid-" + m.Device}
	f.mounts.Hold(held)
	f.node.GiveUpAfter = -1
	f.stop[0]()
	f.hang(mount.ErrTimeout, false)
	must(t, f.unstage(t, c))
	heard := len(f.agents[0].Announcements())
	f.stop[0] = f.agents[0].Serve()
	eventually(t, "announced again", func() bool { return len(f.agents[0].Announcements()) > heard })
	if f.agents[0].Grant(c.id) == nil {
		t.Error("the access is closed")
	}
	f.mounts.Drop(held)
	eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
}
