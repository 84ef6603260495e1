package driver

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

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	fakemount "github.com/nfs-operator/nfs-operator/csi/mount/fake"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	rwx  = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	rox  = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	rwo  = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
	rwop = csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER
)

// claim is a volume with the paths that a kubelet would use for it.
type claim struct {
	handle, id      string
	staging, target string
	other           string // a second target
	mode            csi.VolumeCapability_AccessMode_Mode
}

func (f *fixture) claim(t *testing.T, name string, mode csi.VolumeCapability_AccessMode_Mode) claim {
	t.Helper()
	dir := t.TempDir()
	handle := f.create(t, createRequest(name)).GetVolumeId()
	id, err := volumeid.ParseVolume(handle)
	if err != nil {
		t.Fatal(err)
	}
	return claim{handle, id.ID, filepath.Join(dir, "globalmount"), filepath.Join(dir, "mount"), filepath.Join(dir, "mount2"), mode}
}

func (f *fixture) stage(t *testing.T, c claim, flags ...string) error {
	t.Helper()
	_, err := f.node.NodeStageVolume(t.Context(), stageRequest(c, flags...))
	return err
}

func stageRequest(c claim, flags ...string) *csi.NodeStageVolumeRequest {
	return &csi.NodeStageVolumeRequest{
		VolumeId: c.handle, StagingTargetPath: c.staging, VolumeCapability: capability(c.mode, flags...),
	}
}

func volumeidOf(t *testing.T, c claim) volumeid.Volume {
	t.Helper()
	v, err := volumeid.ParseVolume(c.handle)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (f *fixture) unstage(t *testing.T, c claim) error {
	t.Helper()
	_, err := f.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: c.handle, StagingTargetPath: c.staging})
	return err
}

func (f *fixture) publish(t *testing.T, c claim, target string, readOnly bool) error {
	t.Helper()
	_, err := f.node.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: c.handle, StagingTargetPath: c.staging, TargetPath: target, VolumeCapability: capability(c.mode), Readonly: readOnly,
	})
	return err
}

func (f *fixture) unpublish(t *testing.T, c claim, target string) error {
	t.Helper()
	_, err := f.node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: c.handle, TargetPath: target})
	return err
}

func (f *fixture) mounted(t *testing.T, target string) (mount.Mount, bool) {
	t.Helper()
	mounts, err := f.mounts.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	return mount.At(mounts, target)
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for i, err := range errs {
		if err != nil {
			t.Fatalf("step %d: %v", i, err)
		}
	}
}

func TestLifeOfAVolumeOnANode(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwo)
	must(t, f.stage(t, c), f.stage(t, c))
	m, ok := f.mounted(t, c.staging)
	if !ok || m.Source != addressOf(0)+":/"+c.id {
		t.Errorf("mounted is %+v", m)
	}
	if g := f.agents[0].Grant(c.id); !g.GetSingleNode() || g.GetReadOnly() {
		t.Errorf("grant is %v", g)
	}
	must(t, f.publish(t, c, c.target, false), f.publish(t, c, c.target, false), f.publish(t, c, c.other, true))
	if m, _ := f.mounted(t, c.other); !m.ReadOnly() {
		t.Error("the second target is writable")
	}
	must(t, f.unpublish(t, c, c.target), f.unpublish(t, c, c.target), f.unpublish(t, c, c.other))
	if _, err := os.Lstat(c.target); !os.IsNotExist(err) {
		t.Errorf("the target path is still there: %v", err)
	}
	must(t, f.unstage(t, c), f.unstage(t, c))
	if mounts, _ := f.mounts.Mounts(); len(mounts) > 0 {
		t.Errorf("left mounted: %v", mounts)
	}
	eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
}

func TestReadOnlyModeIsReadOnlyEverywhere(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rox)
	must(t, f.stage(t, c), f.publish(t, c, c.target, false))
	if m, _ := f.mounted(t, c.target); !m.ReadOnly() {
		t.Error("published writable")
	}
	if !f.agents[0].Grant(c.id).GetReadOnly() {
		t.Error("granted writable")
	}
}

// TestReadOnlyByMountOptions: a call that is repeated is answered as the first was.
func TestReadOnlyByMountOptions(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c, "ro"), f.publish(t, c, c.target, false), f.publish(t, c, c.target, false), f.publish(t, c, c.other, true))
	if m, _ := f.mounted(t, c.target); !m.ReadOnly() {
		t.Error("published writable")
	}
}

func TestStagedVolumeNeedsNoServer(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c))
	f.stop[0]()
	must(t, f.stage(t, c), f.publish(t, c, c.target, false), f.unpublish(t, c, c.target), f.unstage(t, c))
}

func TestLostStateIsWrittenAgain(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c), f.state.Forget(c.handle), f.stage(t, c))
	if v, ok := f.state.Get(c.handle); !ok || v.StagingPath != c.staging {
		t.Errorf("state is %+v, %v", v, ok)
	}
}

func TestATakeoverIsTold(t *testing.T) {
	f := newFixture(t)
	a, b := f.claim(t, "a", rwo), f.claim(t, "b", rwo)
	must(t, f.stage(t, a))
	if told := f.events.all(); len(told) > 0 {
		t.Errorf("nothing was taken over, told %q", told)
	}
	f.agents[0].Dead("node-8", "node-9")
	must(t, f.stage(t, b), f.stage(t, b))
	told := f.events.all()
	if len(told) != 1 || !strings.HasPrefix(told[0], ReasonTakenOver+": Volume "+b.handle) || !strings.Contains(told[0], "node-8, node-9") {
		t.Errorf("told %q", told)
	}
}

func TestStageFailures(t *testing.T) {
	tests := map[string]struct {
		agent error // of OpenAccess
		mount error
		code  codes.Code
		known bool // whether the volume is still written down
	}{
		"in use elsewhere":    {agent: status.Error(codes.FailedPrecondition, "open on node-2"), code: codes.FailedPrecondition},
		"no such volume":      {agent: status.Error(codes.NotFound, "gone"), code: codes.NotFound},
		"server starting":     {agent: status.Error(codes.Unavailable, "starting"), code: codes.Unavailable},
		"mount refused":       {mount: unix.EACCES, code: codes.Unavailable},
		"options refused":     {mount: unix.EINVAL, code: codes.InvalidArgument},
		"mount hangs":         {mount: mount.ErrTimeout, code: codes.DeadlineExceeded, known: true},
		"former mount hangs":  {mount: mount.ErrBusy, code: codes.Aborted, known: true},
		"child cannot start":  {mount: errors.New("fork: no memory"), code: codes.Unavailable},
		"connection reset":    {mount: unix.ECONNRESET, code: codes.Unavailable},
		"server has no route": {mount: unix.EHOSTUNREACH, code: codes.Unavailable},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.claim(t, "a", rwx)
			f.agents[0].Before(func(method string) error {
				if method == "OpenAccess" {
					return test.agent
				}
				return nil
			})
			f.mounts.Before(func(context.Context, string, string) error { return test.mount })
			wantCode(t, f.stage(t, c), test.code)
			if _, known := f.state.Get(c.handle); known != test.known {
				t.Errorf("the volume is written down: %v, want %v", known, test.known)
			}
			f.agents[0].Before(nil)
			f.mounts.Before(nil)
			if !test.known {
				eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
			}
			must(t, f.stage(t, c), f.unstage(t, c))
		})
	}
}

// While a mount may still come to be, a final code would make the kubelet look at the path.
func TestNoFinalCodeWhileAMountMayExist(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	f.mounts.Before(func(context.Context, string, string) error { return mount.ErrTimeout })
	wantCode(t, f.stage(t, c), codes.DeadlineExceeded)
	f.agents[0].Before(func(string) error { return status.Error(codes.NotFound, "gone") })
	wantCode(t, f.stage(t, c), codes.Unavailable)
	if _, known := f.state.Get(c.handle); !known {
		t.Error("the volume is forgotten")
	}
}

func TestForeignMountIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	if err := f.mounts.NFS(t.Context(), mount.NFS{Address: "10.9.9.9", Path: "/other", Target: c.staging}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, f.stage(t, c), codes.Aborted)
	wantCode(t, f.publish(t, c, c.target, false), codes.FailedPrecondition)
	if m, _ := f.mounted(t, c.staging); m.Source != "10.9.9.9:/other" {
		t.Errorf("mounted is %v", m)
	}
}

func TestPublishRules(t *testing.T) {
	f := newFixture(t)
	shared, single := f.claim(t, "shared", rwx), f.claim(t, "single", rwop)
	wantCode(t, f.publish(t, shared, shared.target, false), codes.FailedPrecondition)
	must(t, f.stage(t, shared), f.stage(t, single))
	must(t, f.publish(t, shared, shared.target, false), f.publish(t, shared, shared.other, false))
	must(t, f.publish(t, single, single.target, false))
	wantCode(t, f.publish(t, single, single.other, false), codes.FailedPrecondition)
	if _, err := os.Lstat(single.other); !os.IsNotExist(err) {
		t.Errorf("the refused target was made: %v", err)
	}
	// The kubelet's bind mounts for subPath are not a second pod.
	sub := filepath.Join(t.TempDir(), "volume-subpaths")
	must(t, f.mounts.Bind(t.Context(), single.staging, sub+"/0", false), f.publish(t, single, single.target, false))
	must(t, f.unpublish(t, single, single.target), f.publish(t, single, single.other, false))
	// A bind mount whose second system call did not happen is finished; the other way round it is another request.
	must(t, f.publish(t, shared, shared.target, true))
	if m, _ := f.mounted(t, shared.target); !m.ReadOnly() {
		t.Error("published writable")
	}
	wantCode(t, f.publish(t, shared, shared.target, false), codes.Aborted)
}

func TestUnmountsThatDoNotSucceed(t *testing.T) {
	for cause, code := range map[error]codes.Code{mount.ErrTimeout: codes.DeadlineExceeded, unix.EBUSY: codes.Aborted, unix.EIO: codes.Internal} {
		t.Run(cause.Error(), func(t *testing.T) {
			f := newFixture(t)
			c := f.claim(t, "a", rwx)
			must(t, f.stage(t, c), f.publish(t, c, c.target, false))
			f.mounts.Before(func(context.Context, string, string) error { return fmt.Errorf("unmount: %w", cause) })
			wantCode(t, f.unpublish(t, c, c.target), code)
			wantCode(t, f.unstage(t, c), code)
			f.mounts.Before(nil)
			if _, ok := f.mounted(t, c.staging); !ok {
				t.Fatal("unmounted")
			}
			eventually(t, "access still open", func() bool { return f.agents[0].Grant(c.id) != nil })
			// A pod comes back to the volume whose unmount failed.
			must(t, f.stage(t, c))
			if v, ok := f.state.Get(c.handle); !ok || v.Lingering != nil {
				t.Errorf("state is %+v, %v", v, ok)
			}
			must(t, f.unpublish(t, c, c.target), f.unstage(t, c))
		})
	}
}

func TestAccessStaysOpenWhileTheKernelHoldsTheFilesystem(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c))
	m, _ := f.mounted(t, c.staging)
	held := mount.Filesystem{Device: m.Device, FSID: "fsid-" + m.Device}
	f.mounts.Hold(held)
	must(t, f.unstage(t, c))
	if v, ok := f.state.Get(c.handle); !ok || v.Lingering == nil {
		t.Errorf("state is %+v, %v", v, ok)
	}
	f.mounts.Drop(held)
	eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
}

// A pod comes back to a volume whose old file system still writes back, and its stage fails: the access stays open.
func TestStageThatFailsKeepsAccessOfTheOldFilesystem(t *testing.T) {
	refused := func(f *fixture) {
		f.mounts.Before(func(_ context.Context, op, _ string) error {
			if op == "mount" {
				return unix.EACCES
			}
			return nil
		})
	}
	away := func(f *fixture) {
		f.agents[0].Before(func(method string) error {
			if method == "OpenAccess" {
				return status.Error(codes.Unavailable, "away")
			}
			return nil
		})
	}
	unstage := func(t *testing.T, f *fixture, c claim) { t.Helper(); must(t, f.unstage(t, c)) }
	restart := func(t *testing.T, f *fixture, _ claim) { t.Helper(); f.startNode(t, "boot") }
	for name, test := range map[string]struct {
		fail func(*fixture)
		then func(*testing.T, *fixture, claim)
	}{
		"agent away, unstaged":     {away, unstage},
		"agent away, restarted":    {away, restart},
		"mount refused":            {refused, func(*testing.T, *fixture, claim) {}},
		"mount refused, unstaged":  {refused, unstage},
		"mount refused, restarted": {refused, restart},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			c := f.claim(t, "a", rwx)
			must(t, f.stage(t, c))
			m, _ := f.mounted(t, c.staging)
			held := mount.Filesystem{Device: m.Device, FSID: "fsid-" + m.Device}
			f.mounts.Hold(held)
			must(t, f.unstage(t, c))
			test.fail(f)
			wantCode(t, f.stage(t, c), codes.Unavailable)
			test.then(t, f, c)
			if v, ok := f.state.Get(c.handle); !ok || v.Lingering == nil {
				t.Fatalf("state is %+v, %v", v, ok)
			}
			heard := len(f.agents[0].Announcements())
			f.announcer.Changed(volumeidOf(t, c).Shard)
			eventually(t, "announced", func() bool { return len(f.agents[0].Announcements()) > heard })
			if f.agents[0].Grant(c.id) == nil {
				t.Fatal("the access is closed")
			}
			f.mounts.Drop(held)
			eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
		})
	}
}

// latecomer is a Mounter at which a mount comes to be after it was looked for.
type latecomer struct {
	*fakemount.Mounter

	mount mount.NFS
}

func (l latecomer) RenewDir(path string) error {
	return errors.Join(l.NFS(context.Background(), l.mount), l.Mounter.RenewDir(path))
}

// The process of a mount that has timed out may not end when it is killed, and the mount may come to be at any time.
func TestNoMountComesToBeAfterItsUnstage(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, os.Mkdir(c.staging, 0o750))
	late := mount.NFS{Address: addressOf(0), Path: "/" + c.id, Target: c.staging}
	begun, arrives, arrived := make(chan struct{}), make(chan struct{}), make(chan error)
	f.mounts.Before(func(ctx context.Context, _, _ string) error {
		f.mounts.Before(func(context.Context, string, string) error { close(begun); <-arrives; return nil })
		go func() { arrived <- f.mounts.NFS(context.WithoutCancel(ctx), late) }()
		<-begun
		return mount.ErrTimeout
	})
	wantCode(t, f.stage(t, c), codes.DeadlineExceeded)
	f.mounts.Before(nil)
	must(t, f.unstage(t, c))
	close(arrives)
	if err := <-arrived; !errors.Is(err, unix.ENOENT) {
		t.Errorf("the mount ends with %v", err)
	}
	if m, ok := f.mounted(t, c.staging); ok {
		t.Errorf("mounted is %v", m)
	}
	must(t, f.stage(t, c), f.unstage(t, c))

	f.node.Mounter = latecomer{f.mounts, late}
	wantCode(t, f.unstage(t, c), codes.Aborted)
	must(t, f.unstage(t, c))
	if m, ok := f.mounted(t, c.staging); ok {
		t.Errorf("mounted is %v", m)
	}
}

func TestCallsOnOneVolumeExcludeEachOther(t *testing.T) {
	f := newFixture(t)
	a, b := f.claim(t, "a", rwx), f.claim(t, "b", rwx)
	entered, release := make(chan struct{}), make(chan struct{})
	f.mounts.Before(func(_ context.Context, _, target string) error {
		if target == a.staging {
			close(entered)
			<-release
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { _ = f.stage(t, a) })
	<-entered
	wantCode(t, f.stage(t, a), codes.Aborted)
	wantCode(t, f.unstage(t, a), codes.Aborted)
	must(t, f.stage(t, b), f.publish(t, b, b.target, false), f.unpublish(t, b, b.target), f.unstage(t, b))
	close(release)
	wg.Wait()
}

func TestStats(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c), f.publish(t, c, c.target, false))
	stats := func(path string) (*csi.NodeGetVolumeStatsResponse, error) {
		return f.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: c.handle, VolumePath: path})
	}
	for _, path := range []string{c.target, c.staging} {
		resp, err := stats(path)
		if err != nil || resp.GetUsage()[0].GetTotal() != gib || resp.GetUsage()[0].GetAvailable() != gib-4096 || resp.GetUsage()[1].GetTotal() != 4096 {
			t.Errorf("%s: %v, %v", path, resp, err)
		}
	}
	for _, path := range []string{c.other, "some/path", "/"} {
		_, err := stats(path)
		wantCode(t, err, codes.NotFound)
	}
	f.agents[0].Before(func(string) error { return status.Error(codes.NotFound, "no such volume") })
	_, err := stats(c.target)
	wantCode(t, err, codes.NotFound)
	f.agents[0].Before(func(string) error {
		return status.Error(codes.FailedPrecondition, "an external server's share does not say")
	})
	f.node.looks.TryAcquire(volumeidOf(t, c).Shard.String()) // another volume's
	if resp, err := stats(c.target); err != nil || resp.GetUsage()[0].GetTotal() != 1000 {
		t.Errorf("of an external server: %v, %v", resp, err)
	}
	f.node.looks.Release(volumeidOf(t, c).Shard.String())
	f.agents[0].Before(nil)
	f.stop[0]()
	if resp, err := stats(c.target); err != nil || resp.GetUsage()[0].GetTotal() != 1000 {
		t.Errorf("without the agent: %v, %v", resp, err)
	}
}

func TestBadRequestsOfNode(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	for _, change := range []func(*claim){
		func(c *claim) { c.handle = "" },
		func(c *claim) { c.staging = "../../etc" },
		func(c *claim) { c.staging = "/var/../etc" },
		func(c *claim) { c.mode = csi.VolumeCapability_AccessMode_UNKNOWN },
	} {
		bad := c
		change(&bad)
		wantCode(t, f.stage(t, bad), codes.InvalidArgument)
	}
	for _, handle := range []string{"main/0/../../../etc", "main/0/", "x", strings.Repeat("x", 1000)} {
		bad := c
		bad.handle = handle
		wantCode(t, f.stage(t, bad), codes.NotFound)
		wantCode(t, f.unstage(t, bad), codes.NotFound)
		wantCode(t, f.publish(t, bad, bad.target, false), codes.NotFound)
		wantCode(t, f.unpublish(t, bad, bad.target), codes.NotFound)
	}
	wantCode(t, f.stage(t, c, "nconnect=16"), codes.InvalidArgument)
	wantCode(t, f.stage(t, c, "addr=10.9.9.9"), codes.InvalidArgument)
	if calls := f.mounts.Calls(); len(calls) > 0 {
		t.Errorf("bad requests led to %v", calls)
	}
}

func TestUnpublishNeverTakesData(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, os.MkdirAll(c.target, 0o750), os.WriteFile(filepath.Join(c.target, "data"), []byte("x"), 0o600))
	if err := f.unpublish(t, c, c.target); err == nil {
		t.Error("a full directory was unpublished")
	}
	if _, err := os.Stat(filepath.Join(c.target, "data")); err != nil {
		t.Error(err)
	}
}

func TestUncertainCodes(t *testing.T) {
	retried := []codes.Code{codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.ResourceExhausted}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		got := status.Code(uncertain(status.Error(code, "x")))
		if !slices.Contains(retried, got) || slices.Contains(retried, code) && got != code {
			t.Errorf("uncertain(%s) is %s", code, got)
		}
	}
}

func TestOnlyAPersistentVolumeThatSaysSoBringsADeletedVolumeBack(t *testing.T) {
	f := newFixture(t)
	request := stageRequest(f.claim(t, "a", rwx))
	for value, want := range map[string]bool{"": false, "false": false, "true": true} {
		request.VolumeContext = map[string]string{"reattach": value, "storage.kubernetes.io/csiProvisionerIdentity": "x"}
		if s, err := parseStage(request); err != nil || s.reattach != want {
			t.Errorf("%q: %v, %v", value, s.reattach, err)
		}
	}
	request.VolumeContext = map[string]string{"reattach": "yes"}
	if _, err := parseStage(request); status.Code(err) != codes.InvalidArgument {
		t.Errorf("yes: %v", err)
	}
}

// The state was lost after the unmount and before the agent knew: the kubelet repeats the unstage.
func TestUnstageOfAForgottenVolumeClosesItsAccess(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwo)
	heard := len(f.agents[0].Announcements())
	must(t, f.unstage(t, c))
	eventually(t, "announced", func() bool { return len(f.agents[0].Announcements()) > heard })
	eventually(t, "closed", func() bool { return len(f.state.OpenShards()) == 0 })
}
