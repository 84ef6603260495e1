//go:build vm

package sanity

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestDeadServer stops the server and all that it has to say: agent and Ganesha answer nothing, and the connections
// stay. That is what a node sees of a server whose host has lost its power.
func TestDeadServer(t *testing.T) {
	m := newMachine(t)
	node, _, stop := m.startNode(t)
	defer stop()
	conn := connect(t, serve(t, m.controller(t), node))
	k := &kubelet{machine: m, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}
	idle, written := k.claim(t, 8*mib, rwx), k.claimNamed(t, "written", 8*mib, rwx)
	for _, p := range []pod{idle, written} {
		if err := k.stage(t, p); err != nil {
			t.Fatal(err)
		}
		k.publish(t, p, p.target, false)
	}
	if err := os.WriteFile(filepath.Join(written.target, "file"), make([]byte, mib), 0o600); err != nil {
		t.Fatal(err)
	}
	resume := freeze(t, "nfs-operator", "ganesha.nfsd")
	defer resume()

	atMost(t, 20*time.Second, "stats", func() error {
		_, err := k.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: idle.handle, VolumePath: idle.target})
		if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.Aborted && code != codes.OK {
			return err
		}
		return nil
	})
	atMost(t, 20*time.Second, "stage of what is staged", func() error { return k.stage(t, idle) })
	for _, p := range []pod{idle, written} {
		atMost(t, 20*time.Second, "unpublish", func() error {
			_, err := k.node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: p.handle, TargetPath: p.target})
			return err
		})
	}
	atMost(t, 40*time.Second, "unstage", func() error {
		_, err := k.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: written.handle, StagingTargetPath: written.staging})
		if code := status.Code(err); code != codes.DeadlineExceeded && code != codes.OK {
			return err
		}
		return nil
	})
	resume()
	for _, p := range []pod{idle, written} {
		eventually(t, "unstaged when the server is back", func() bool {
			_, err := k.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging})
			return err == nil
		})
	}
	if info, err := os.Stat(filepath.Join(m.host.DataDir(), "volumes", written.id, "file")); err != nil || info.Size() != mib {
		t.Errorf("what the pod had written is %v, %v", info, err)
	}
	for _, p := range []pod{idle, written} {
		eventually(t, "access closed", func() bool { return len(k.nodesOf(t, p)) == 0 })
	}
}

// atMost fails the test when a call takes longer, or returns an error. Limits leave room for a slow machine: a call that hangs on the
// server takes minutes.
func atMost(t *testing.T, d time.Duration, what string, call func() error) {
	t.Helper()
	begin := time.Now()
	if err := call(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	if took := time.Since(begin); took > d {
		t.Errorf("%s took %s", what, took)
	}
}

// freeze stops all processes of the programs, until resume is called.
func freeze(t *testing.T, programs ...string) (resume func()) {
	t.Helper()
	var stopped []int
	for _, program := range programs {
		files, err := filepath.Glob("/proc/[0-9]*/comm")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil || strings.TrimSpace(string(text)) != program {
				continue
			}
			var pid int
			if _, err := fmt.Sscanf(file, "/proc/%d/comm", &pid); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			stopped = append(stopped, pid)
		}
	}
	if len(stopped) < len(programs) {
		t.Fatalf("only %v of %v run", stopped, programs)
	}
	return func() {
		for _, pid := range stopped {
			if err := syscall.Kill(pid, syscall.SIGCONT); err != nil && !errors.Is(err, syscall.ESRCH) {
				t.Error(err)
			}
		}
	}
}
