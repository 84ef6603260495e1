//go:build vm

package sanity

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	rwx = csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER
	rox = csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY
	rwo = csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER
)

// TestNode holds what csi-sanity does not look at: what the kernel and the server make of the calls.
func TestNode(t *testing.T) {
	m := newMachine(t)
	node, _, stop := m.startNode(t)
	conn := connect(t, serve(t, m.controller(t), node))
	k := &kubelet{machine: m, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}
	t.Run("the server can write down this NFS client's name", k.testClientName)
	t.Run("a volume's size is what df says and what can be written", k.testSize)
	t.Run("expansion is seen by a mount in use", k.testExpand)
	t.Run("mount options", k.testOptions)
	t.Run("read-only", k.testReadOnly)
	t.Run("two pods share a volume", k.testSharedVolume)
	t.Run("stage of a volume that is not there", k.testMissingVolume)
	t.Run("access is closed after the last unmount only", k.testAccess)
	stop()
	t.Run("a restarted plugin goes on", k.testRestart)
	m.wantNothingLeft(t)
}

// kubelet calls the driver as a kubelet does.
type kubelet struct {
	machine    *machine
	controller csi.ControllerClient
	node       csi.NodeClient
}

// pod is a volume in use.
type pod struct {
	handle, id      string
	capability      *csi.VolumeCapability
	staging, target string
}

// claim makes a volume, which is deleted at the end of the test.
func (k *kubelet) claim(t *testing.T, size int64, mode csi.VolumeCapability_AccessMode_Mode, flags ...string) pod {
	t.Helper()
	return k.claimNamed(t, "a", size, mode, flags...)
}

func (k *kubelet) claimNamed(t *testing.T, name string, size int64, mode csi.VolumeCapability_AccessMode_Mode, flags ...string) pod {
	t.Helper()
	capability := &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: flags}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
	resp, err := k.controller.CreateVolume(t.Context(), &csi.CreateVolumeRequest{
		Name: "pvc-" + strings.ReplaceAll(t.Name(), "/", "-") + "-" + name, Parameters: map[string]string{"profile": profileName},
		CapacityRange: &csi.CapacityRange{RequiredBytes: size}, VolumeCapabilities: []*csi.VolumeCapability{capability},
	})
	if err != nil {
		t.Fatal(err)
	}
	handle := resp.GetVolume().GetVolumeId()
	id, err := volumeid.ParseVolume(handle)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	p := pod{handle, id.ID, capability, filepath.Join(dir, "globalmount"), filepath.Join(dir, "mount")}
	if err := os.Mkdir(p.staging, 0o750); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := k.controller.DeleteVolume(cleanup(t), &csi.DeleteVolumeRequest{VolumeId: handle}); err != nil {
			t.Errorf("delete: %v", err)
		}
	})
	return p
}

func (k *kubelet) stage(t *testing.T, p pod) error {
	t.Helper()
	_, err := k.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: p.handle, StagingTargetPath: p.staging, VolumeCapability: p.capability,
	})
	return err
}

func (k *kubelet) publish(t *testing.T, p pod, target string, readOnly bool) {
	t.Helper()
	if _, err := k.node.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: p.handle, StagingTargetPath: p.staging, TargetPath: target, VolumeCapability: p.capability, Readonly: readOnly,
	}); err != nil {
		t.Fatal(err)
	}
}

func (k *kubelet) unpublish(t *testing.T, p pod, target string) {
	t.Helper()
	if _, err := k.node.NodeUnpublishVolume(cleanup(t), &csi.NodeUnpublishVolumeRequest{VolumeId: p.handle, TargetPath: target}); err != nil {
		t.Errorf("unpublish: %v", err)
	}
}

func (k *kubelet) unstage(t *testing.T, p pod) {
	t.Helper()
	if _, err := k.node.NodeUnstageVolume(cleanup(t), &csi.NodeUnstageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging}); err != nil {
		t.Errorf("unstage: %v", err)
	}
}

// start stages and publishes a volume until the end of the test.
func (k *kubelet) start(t *testing.T, p pod, readOnly bool) {
	t.Helper()
	if err := k.stage(t, p); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.unstage(t, p) })
	k.publish(t, p, p.target, readOnly)
	t.Cleanup(func() { k.unpublish(t, p, p.target) })
}

// testClientName: a client whose record holds its name in hexadecimal digits loses its locks when the server restarts.
func (k *kubelet) testClientName(t *testing.T) {
	k.start(t, k.claim(t, 32*mib, rwo), false)
	records, err := filepath.Glob(filepath.Join(k.machine.host.DataDir(), ".nfs-operator", "recovery", "v4recov", "*", "*"))
	want := "Linux NFSv4.2 " + mount.ClientName(nodeName, "uid-1") + ")"
	if err != nil || !slices.ContainsFunc(records, func(r string) bool { return strings.HasSuffix(r, want) }) {
		t.Errorf("the server's records of its clients are %q (%v); want one of %q", records, err, want)
	}
}

func (k *kubelet) testSize(t *testing.T) {
	p := k.claim(t, 32*mib, rwo)
	k.start(t, p, false)
	if got := sizeOf(t, p.target); got != 32*mib {
		t.Errorf("df says %d bytes", got)
	}
	n, err := fill(filepath.Join(p.target, "file"))
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) || n < 31*mib || n > 32*mib {
		t.Errorf("%d bytes could be written: %v", n, err)
	}
	stats, err := k.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: p.handle, VolumePath: p.target})
	if err != nil || stats.GetUsage()[0].GetTotal() != 32*mib || stats.GetUsage()[0].GetUsed() < 31*mib {
		t.Errorf("stats: %v, %v", stats, err)
	}
}

func (k *kubelet) testExpand(t *testing.T) {
	p := k.claim(t, 32*mib, rwx)
	k.start(t, p, false)
	resp, err := k.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
		VolumeId: p.handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 48 * mib},
	})
	if err != nil || resp.GetCapacityBytes() != 48*mib || resp.GetNodeExpansionRequired() {
		t.Fatalf("expand: %v, %v", resp, err)
	}
	eventually(t, "df says the new size", func() bool { return sizeOf(t, p.target) == 48*mib })
}

func (k *kubelet) testOptions(t *testing.T) {
	p := k.claim(t, mib, rwx, "nfsvers=4.1", "noatime", "timeo=150")
	k.start(t, p, false)
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.Contains(line, p.staging) {
			continue
		}
		for _, want := range []string{"noatime", "vers=4.1", "hard", "timeo=150", "retrans=1", serverAddress + ":/" + p.id} {
			if !strings.Contains(line, want) {
				t.Errorf("%s is missing in %s", want, line)
			}
		}
		if strings.Contains(line, "noresvport") {
			t.Errorf("mounted from an unprivileged port: %s", line)
		}
	}
}

func (k *kubelet) testReadOnly(t *testing.T) {
	p := k.claim(t, mib, rwx, "nosuid")
	k.start(t, p, true)
	if err := os.WriteFile(filepath.Join(p.target, "file"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to a read-only target: %v", err)
	}
	if err := os.WriteFile(filepath.Join(p.staging, "file"), nil, 0o600); err != nil {
		t.Errorf("write beside it: %v", err)
	}
	mounts, err := k.machine.mounter.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := mount.At(mounts, p.target); !slices.Contains(m.Options, "nosuid") {
		t.Errorf("the read-only mount has lost options: %v", m.Options)
	}
}

func (k *kubelet) testSharedVolume(t *testing.T) {
	p := k.claim(t, mib, rwx)
	k.start(t, p, false)
	second := p.target + "2"
	k.publish(t, p, second, false)
	defer k.unpublish(t, p, second)
	want := []byte("from the first pod")
	if err := os.WriteFile(filepath.Join(p.target, "file"), want, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(second, "file")); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the second pod reads %q, %v", got, err)
	}
	inside, err := os.ReadFile(filepath.Join(k.machine.host.DataDir(), "volumes", p.id, "file"))
	if err != nil || !bytes.Equal(inside, want) {
		t.Errorf("on the server: %q, %v", inside, err)
	}
}

func (k *kubelet) testMissingVolume(t *testing.T) {
	p := k.claim(t, mib, rwx)
	p.handle, p.id = backendName+"/0/aaaaaaaaaaaaaaaa", "aaaaaaaaaaaaaaaa"
	if err := k.stage(t, p); status.Code(err) != codes.NotFound {
		t.Errorf("stage: %v, want NotFound", err)
	}
}

func (k *kubelet) testAccess(t *testing.T) {
	p := k.claim(t, mib, rwo)
	if err := k.stage(t, p); err != nil {
		t.Fatal(err)
	}
	if nodes := k.nodesOf(t, p); !slices.Equal(nodes, []string{nodeName}) {
		t.Errorf("open to %v", nodes)
	}
	open, err := os.Create(filepath.Join(p.staging, "open"))
	if err != nil {
		t.Fatal(err)
	}
	k.busy(t, p)
	// Somebody's lazy unmount does not end the kernel's use of the file system.
	if err := unix.Unmount(p.staging, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	k.unstage(t, p)
	if nodes := k.nodesOf(t, p); len(nodes) != 1 {
		t.Errorf("the kernel still writes, and the volume is open to %v", nodes)
	}
	if _, err := open.Write([]byte("x")); err != nil {
		t.Errorf("write: %v", err)
	}
	if err := errors.Join(open.Sync(), open.Close()); err != nil {
		t.Errorf("close: %v", err)
	}
	eventually(t, "closed", func() bool { return len(k.nodesOf(t, p)) == 0 })
}

// busy tries to unstage a volume of which a file is open.
func (k *kubelet) busy(t *testing.T, p pod) {
	t.Helper()
	_, err := k.node.NodeUnstageVolume(t.Context(), &csi.NodeUnstageVolumeRequest{VolumeId: p.handle, StagingTargetPath: p.staging})
	if status.Code(err) != codes.Aborted {
		t.Errorf("unstage of a volume in use: %v, want Aborted", err)
	}
	if nodes := k.nodesOf(t, p); len(nodes) != 1 {
		t.Errorf("open to %v", nodes)
	}
}

func (k *kubelet) nodesOf(t *testing.T, p pod) []string {
	t.Helper()
	v, err := k.machine.host.Controller(t).GetVolume(t.Context(), &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Id{Id: p.id}})
	if err != nil {
		t.Fatal(err)
	}
	return v.GetNodes()
}

// testRestart runs after the plugin that the kubelet speaks to has lost its announcements.
func (k *kubelet) testRestart(t *testing.T) {
	p := k.claim(t, mib, rwx)
	node, state, stop := k.machine.startNode(t)
	conn := connect(t, serve(t, k.machine.controller(t), node))
	before := &kubelet{machine: k.machine, controller: k.controller, node: csi.NewNodeClient(conn)}
	if err := before.stage(t, p); err != nil {
		t.Fatal(err)
	}
	first, _ := state.Get(p.handle)
	stop()

	node, state, stop = k.machine.startNode(t)
	defer stop()
	conn = connect(t, serve(t, k.machine.controller(t), node))
	after := &kubelet{machine: k.machine, controller: k.controller, node: csi.NewNodeClient(conn)}
	if now, ok := state.Get(p.handle); !ok || !reflect.DeepEqual(now, first) {
		t.Errorf("the state is %+v, it was %+v", now, first)
	}
	if err := after.stage(t, p); err != nil {
		t.Errorf("stage of what is staged: %v", err)
	}
	if err := os.WriteFile(filepath.Join(p.staging, "file"), nil, 0o600); err != nil {
		t.Errorf("write: %v", err)
	}
	after.unstage(t, p)
	eventually(t, "closed", func() bool { return len(k.nodesOf(t, p)) == 0 })
}

// fill writes until it cannot, and says how much was written.
func fill(path string) (int64, error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	var n int64
	for {
		written, err := f.Write(block)
		n += int64(written)
		if err == nil {
			err = f.Sync()
		}
		if err != nil {
			return n, err
		}
	}
}

// cleanup is a context for what is done when a test's own has ended.
func cleanup(t *testing.T) context.Context {
	t.Helper()
	return context.WithoutCancel(t.Context())
}

func sizeOf(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Blocks) * s.Bsize
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
