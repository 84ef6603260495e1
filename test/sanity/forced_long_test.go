//go:build vm && long

package sanity

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// TestServerThatNeverReturns holds a file of a mounted volume open, so that it cannot be unmounted, and takes the server
// away. When it has been away for long enough, the pod and the mount can go, and the access stays open for as long as the
// kernel still has the file system.
func TestServerThatNeverReturns(t *testing.T) {
	m := newMachine(t)
	m.giveUpAfter = 20 * time.Second
	node, state, stop := m.startNode(t)
	defer stop()
	conn := connect(t, serve(t, m.controller(t), node))
	k := &kubelet{machine: m, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}
	p := k.claim(t, 8*mib, rwo)
	if err := k.stage(t, p); err != nil {
		t.Fatal(err)
	}
	k.publish(t, p, p.target, false)
	open, err := os.Create(filepath.Join(p.target, "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	resume := freeze(t, "nfs-operator", "ganesha.nfsd")
	defer resume()

	first := time.Now()
	for _, call := range []struct {
		name string
		do   func() error
	}{
		{"unpublish", func() error {
			_, err := k.node.NodeUnpublishVolume(t.Context(), &csi.NodeUnpublishVolumeRequest{VolumeId: p.handle, TargetPath: p.target})
			return err
		}},
		{"unstage", func() error {
			_, err := k.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging})
			return err
		}},
	} {
		within(t, 3*time.Minute, call.name, func() bool {
			begin := time.Now()
			err := call.do()
			if took := time.Since(begin); took > 100*time.Second {
				t.Errorf("%s took %s", call.name, took)
			}
			if code := status.Code(err); err != nil && code != codes.Aborted && code != codes.DeadlineExceeded && code != codes.Unavailable {
				t.Errorf("%s: %v", call.name, err)
			}
			return err == nil
		})
	}
	if waited := time.Since(first); waited < m.giveUpAfter {
		t.Errorf("given up after %s", waited)
	}
	if warned := strings.Join(m.events.all(), "\n"); !strings.Contains(warned, "may be lost") {
		t.Errorf("events: %s", warned)
	}
	if _, mounted := m.mountAt(t, p.staging); mounted {
		t.Error("still mounted")
	}
	if v, ok := state.Get(p.handle); !ok || v.Lingering == nil {
		t.Errorf("the kernel has the file system, and the state is %+v, %v", v, ok)
	}
	resume()
	within(t, time.Minute, "server is back", func() bool { return len(k.nodesOf(t, p)) == 1 })
	_ = open.Close()
	within(t, time.Minute, "access closed", func() bool { return len(k.nodesOf(t, p)) == 0 })
	within(t, time.Minute, "nothing is left", func() bool {
		held, err := m.mounter.Filesystems()
		return err == nil && len(held) == 0
	})
}
