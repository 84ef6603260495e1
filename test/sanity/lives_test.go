//go:build vm && long

package sanity

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/godbus/dbus/v5"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

const (
	// lives is how many volumes TestManyLives makes.
	lives  = 500
	atOnce = 20
	// patience is for a machine whose processors are busy.
	patience = 5 * time.Minute
)

// TestManyLives takes volumes through all that can happen to them, 20 at a time, and then looks for anything that is left:
// records, directories, exports in Ganesha, mounts, grants, goroutines, file descriptors, processes.
func TestManyLives(t *testing.T) {
	m := newMachine(t)
	node, state, stop := m.startNode(t)
	defer stop()
	conn := connect(t, serve(t, m.controller(t), node))
	l := &livesTest{
		kubelet: kubelet{machine: m, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}, dir: t.TempDir(),
	}
	live := func(first, last int) {
		group, ctx := errgroup.WithContext(t.Context())
		group.SetLimit(atOnce)
		for i := first; i < last; i++ {
			group.Go(func() error { return l.live(ctx, i) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	live(0, atOnce) // so that connections, workers and caches are there
	l.awaitNothing(t, state)
	before := l.take(t)
	begin := time.Now()
	live(atOnce, atOnce+lives)
	t.Logf("%d volumes in %s", lives, time.Since(begin).Round(time.Millisecond))
	l.awaitNothing(t, state)
	l.awaitNoMore(t, before)
	m.wantNothingLeft(t)
}

type livesTest struct {
	kubelet

	dir string
}

// again repeats a call as sidecars and kubelets do.
func again(ctx context.Context, call func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := call()
		switch status.Code(err) {
		case codes.Aborted, codes.Unavailable, codes.DeadlineExceeded:
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// live is one volume's life. Each call is made twice: the second must find the work done.
func (l *livesTest) live(ctx context.Context, i int) error {
	capability := &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: []csi.VolumeCapability_AccessMode_Mode{rwx, rwo}[i%2]},
	}
	dir := filepath.Join(l.dir, fmt.Sprint(i))
	p := pod{capability: capability, staging: filepath.Join(dir, "globalmount"), target: filepath.Join(dir, "mount")}
	if err := os.MkdirAll(p.staging, 0o750); err != nil {
		return err
	}
	var snapshot string
	step := func(what string, call func() error) func() error {
		return func() error {
			for range 2 {
				if err := again(ctx, call); err != nil {
					return fmt.Errorf("volume %d: %s: %w", i, what, err)
				}
			}
			return nil
		}
	}
	steps := []func() error{
		step("create", func() error {
			resp, err := l.controller.CreateVolume(ctx, &csi.CreateVolumeRequest{
				Name: fmt.Sprintf("pvc-life-%d", i), CapacityRange: &csi.CapacityRange{RequiredBytes: 4 * mib},
				VolumeCapabilities: []*csi.VolumeCapability{capability},
				Parameters: map[string]string{
					"profile": profileName, "csi.storage.k8s.io/pvc/namespace": "lives", "csi.storage.k8s.io/pvc/name": fmt.Sprintf("life-%d", i),
				},
			})
			p.handle = resp.GetVolume().GetVolumeId()
			return err
		}),
		step("stage", func() error {
			_, err := l.node.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging, VolumeCapability: capability})
			return err
		}),
		step("publish", func() error {
			_, err := l.node.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
				VolumeId: p.handle, StagingTargetPath: p.staging, TargetPath: p.target, VolumeCapability: capability,
			})
			return err
		}),
		func() error { return os.WriteFile(filepath.Join(p.target, "file"), []byte(p.handle), 0o600) },
		step("expand", func() error {
			_, err := l.controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{VolumeId: p.handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 8 * mib}})
			return err
		}),
		step("modify", func() error {
			_, err := l.controller.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{VolumeId: p.handle, MutableParameters: map[string]string{"inodes": "5000"}})
			return err
		}),
		step("snapshot", func() error {
			resp, err := l.controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: fmt.Sprintf("snapshot-life-%d", i), SourceVolumeId: p.handle})
			if err == nil && !resp.GetSnapshot().GetReadyToUse() {
				return errors.New("a snapshot that is not ready")
			}
			snapshot = resp.GetSnapshot().GetSnapshotId()
			return err
		}),
		step("unpublish", func() error {
			_, err := l.node.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: p.handle, TargetPath: p.target})
			return err
		}),
		step("unstage", func() error {
			_, err := l.node.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging})
			return err
		}),
		step("delete", func() error {
			_, err := l.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: p.handle})
			return err
		}),
		step("delete snapshot", func() error {
			_, err := l.controller.DeleteSnapshot(ctx, &csi.DeleteSnapshotRequest{SnapshotId: snapshot})
			return err
		}),
	}
	if i%3 == 0 { // the snapshot first
		n := len(steps)
		steps[n-1], steps[n-2] = steps[n-2], steps[n-1]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return errors.Join(os.Remove(p.staging), os.Remove(dir))
}

// awaitNothing waits until the server's disk and the node's directory are as if there had been no volume.
func (l *livesTest) awaitNothing(t *testing.T, state *nodestate.Store) {
	t.Helper()
	await(t, func() string {
		var left []string
		data := l.machine.host.DataDir()
		for _, dir := range []string{"volumes", "snapshots", "tmp", "trash", "archive", ".nfs-operator/volumes", ".nfs-operator/snapshots"} {
			entries, err := os.ReadDir(filepath.Join(data, dir))
			if err != nil || len(entries) > 0 {
				left = append(left, fmt.Sprintf("%s: %d entries, %v", dir, len(entries), err))
			}
		}
		_ = filepath.WalkDir(filepath.Join(data, "by-claim"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.IsDir() {
				left = append(left, path)
			}
			return nil
		})
		nodes, _ := filepath.Glob(filepath.Join(data, ".nfs-operator/nodes/*"))
		for _, file := range nodes {
			if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), `"grants"`) {
				left = append(left, fmt.Sprintf("%s: %.200s, %v", file, text, err))
			}
		}
		if staged := state.Volumes(); len(staged) > 0 {
			left = append(left, fmt.Sprintf("the node remembers %d volumes", len(staged)))
		}
		return strings.Join(left, "\n")
	})
}

// figures are what must not grow.
type figures struct{ goroutines, ownFiles, agentFiles, ganeshaFiles, exports, processes int }

func (l *livesTest) take(t *testing.T) figures {
	t.Helper()
	return figures{
		runtime.NumGoroutine(), openFiles("/proc/self/fd"), filesOf(host.Program), filesOf("ganesha.nfsd"), l.exports(t),
		processes(),
	}
}

// awaitNoMore allows for what belongs to no volume: a connection that is being made, a worker that was not busy before.
func (l *livesTest) awaitNoMore(t *testing.T, before figures) {
	t.Helper()
	const slack = 8
	await(t, func() string {
		now := l.take(t)
		if now.exports != before.exports || now.processes > before.processes || now.goroutines > before.goroutines+slack ||
			now.ownFiles > before.ownFiles+slack || now.agentFiles > before.agentFiles+slack || now.ganeshaFiles > before.ganeshaFiles+slack {
			if now.goroutines > before.goroutines+slack {
				_ = pprof.Lookup("goroutine").WriteTo(os.Stderr, 1)
			}
			return fmt.Sprintf("there were %+v, there are %+v", before, now)
		}
		t.Logf("before %+v, after %+v", before, now)
		return ""
	})
}

// exports asks Ganesha itself.
func (l *livesTest) exports(t *testing.T) int {
	t.Helper()
	conn, err := dbus.Connect("unix:path=" + l.machine.host.Path("/run/agent/bus"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := conn.Object("org.ganesha.nfsd", "/org/ganesha/nfsd/ExportMgr").CallWithContext(t.Context(), "org.ganesha.nfsd.exportmgr.ShowExports", 0)
	if call.Err != nil || len(call.Body) == 0 {
		t.Fatalf("ShowExports: %v, %v", call.Body, call.Err)
	}
	list, ok := call.Body[len(call.Body)-1].([][]any)
	if !ok {
		t.Fatalf("ShowExports answers %T", call.Body[len(call.Body)-1])
	}
	return len(list)
}

// processes counts those of programs, not the kernel's, and those that nobody has waited for.
func processes() (n int) {
	for _, dir := range glob("/proc/[0-9]*") {
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		if _, err := os.Readlink(filepath.Join(dir, "exe")); err == nil || strings.Contains(string(stat), ") Z ") {
			n++
		}
	}
	return n
}

func glob(pattern string) []string {
	found, _ := filepath.Glob(pattern)
	return found
}

func openFiles(dir string) int {
	entries, _ := os.ReadDir(dir)
	return len(entries)
}

// filesOf counts the open files of all processes of a program.
func filesOf(program string) (sum int) {
	for _, file := range glob("/proc/[0-9]*/comm") {
		if text, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(text)) == program {
			sum += openFiles(filepath.Join(filepath.Dir(file), "fd"))
		}
	}
	return sum
}

// await waits until what is wrong is nothing.
func await(t *testing.T, wrong func() string) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		what := wrong()
		if what == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		time.Sleep(250 * time.Millisecond)
	}
}
