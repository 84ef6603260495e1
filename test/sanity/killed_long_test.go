//go:build vm && long

package sanity

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/nfs-operator/nfs-operator/csi/driver"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// cut is a Mounter whose user is killed at a change: its goroutine ends there, and nothing more of the call happens.
type cut struct {
	mount.Mounter

	after bool // the change
}

func (c cut) do(change func() error) error {
	if !c.after {
		runtime.Goexit()
	}
	if err := change(); err != nil {
		return err
	}
	runtime.Goexit()
	return nil
}

func (c cut) NFS(ctx context.Context, m mount.NFS) error {
	return c.do(func() error { return c.Mounter.NFS(ctx, m) })
}

func (c cut) Bind(ctx context.Context, source, target string, readOnly bool) error {
	return c.do(func() error { return c.Mounter.Bind(ctx, source, target, readOnly) })
}

func (c cut) Unmount(ctx context.Context, target string) error {
	return c.do(func() error { return c.Mounter.Unmount(ctx, target) })
}

// TestKilledInTheMiddle kills the plugin before and after each change that it makes to the kernel's mounts. Another one
// starts, and the kubelet repeats its call; at another time all of the plugin's state is lost, too.
func TestKilledInTheMiddle(t *testing.T) {
	m := newMachine(t)
	ctx := context.Background()
	controller := csi.NewControllerClient(connect(t, serve(t, m.controller(t), nil)))
	for _, after := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			node, _, stop := m.startNode(t)
			k := &kubelet{machine: m, controller: controller}
			p := k.claimNamed(t, map[bool]string{false: "before", true: "after"}[after]+map[bool]string{false: "", true: "-lost"}[lost], mib, rwo)
			writeNote(t, p)
			whole := node.Mounter
			calls := map[string]func(*driver.Node) error{
				"stage": func(n *driver.Node) error {
					_, err := n.NodeStageVolume(ctx, &csi.NodeStageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging, VolumeCapability: p.capability})
					return err
				},
				"publish": func(n *driver.Node) error {
					_, err := n.NodePublishVolume(ctx, &csi.NodePublishVolumeRequest{
						VolumeId: p.handle, StagingTargetPath: p.staging, TargetPath: p.target, VolumeCapability: p.capability, Readonly: true,
					})
					return err
				},
				"unpublish": func(n *driver.Node) error {
					_, err := n.NodeUnpublishVolume(ctx, &csi.NodeUnpublishVolumeRequest{VolumeId: p.handle, TargetPath: p.target})
					return err
				},
				"unstage": func(n *driver.Node) error {
					_, err := n.NodeUnstageVolume(ctx, &csi.NodeUnstageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging})
					return err
				},
			}
			for _, name := range []string{"stage", "publish", "unpublish", "unstage"} {
				node.Mounter = cut{whole, after}
				ended := make(chan struct{})
				go func() { defer close(ended); _ = calls[name](node) }()
				<-ended
				stop()
				if lost {
					if err := os.RemoveAll(filepath.Join(m.dir, "state")); err != nil {
						t.Fatal(err)
					}
				}
				node, _, stop = m.startNode(t)
				if name == "publish" { // the kubelet stages again after its own restart
					if err := calls["stage"](node); err != nil {
						t.Errorf("stage of what is staged: %v", err)
					}
				}
				if err := calls[name](node); err != nil {
					t.Errorf("after=%v lost=%v: %s repeated: %v", after, lost, name, err)
				}
				if name == "publish" {
					if at, ok := m.mountAt(t, p.target); !ok || !at.ReadOnly() {
						t.Errorf("published as %+v, %v", at, ok)
					}
				}
				if name == "publish" || name == "unpublish" {
					within(t, time.Minute, "access open", func() bool { return len(k.nodesOf(t, p)) == 1 })
				}
			}
			within(t, time.Minute, "access closed", func() bool { return len(k.nodesOf(t, p)) == 0 })
			stop()
			if left := m.nfsMounts(t); len(left) > 0 {
				t.Errorf("left mounted: %v", left)
			}
		}
	}
}

// writeNote writes what the kubelet writes beside a staging path.
func writeNote(t *testing.T, p pod) {
	t.Helper()
	text := `{"driverName":"csi.nfs-operator.io","volumeHandle":"` + p.handle + `"}`
	if err := os.WriteFile(filepath.Join(filepath.Dir(p.staging), "vol_data.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
