//go:build vm

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

func testOnlyANodeWithAGrantCanMount(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-access", 16*mib)
	if dir, err := host.TryMount("/"+v.GetId(), "resvport"); err == nil {
		host.Unmount(dir)
		t.Fatal("mounted without a grant")
	}
	node := h.Node(t, "node-a")
	access := open(t, node, v.GetId())
	if access.GetPath() != "/"+v.GetId() || len(access.GetMountOptions()) != 1 || access.GetMountOptions()[0] != "resvport" {
		t.Fatalf("access %v", access)
	}
	if dir, err := host.TryMount(access.GetPath(), "noresvport"); err == nil {
		host.Unmount(dir)
		t.Error("mounted from an unprivileged port")
	}
	dir := h.Mount(t, access)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	announce(t, node, 2) // it has nothing staged any more
	if _, err := os.ReadDir(dir); err == nil {
		t.Error("a mount without a grant can still be read")
	}
	announce(t, node, 3, v.GetId())
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Errorf("with the grant back: %v", err)
	}
}

func testAnUnprivilegedControlConnectionMountsWithNoresvport(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-noresvport", 16*mib)
	access := open(t, h.UnprivilegedNode(t, "node-unprivileged"), v.GetId()) // whose other grants would be open to such ports, too
	if access.GetMountOptions()[0] != "noresvport" {
		t.Fatalf("access %v", access)
	}
	h.Mount(t, access)
}

func testAReadOnlyGrantCannotWrite(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-ro", 16*mib)
	req := openRequest(v.GetId())
	req.Grant.ReadOnly = true
	access, err := h.Node(t, "node-a").OpenAccess(within(t, 60*time.Second), req)
	if err != nil {
		t.Fatal(err)
	}
	dir := h.Mount(t, access)
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); !isErrno(err, unix.EROFS) && !isErrno(err, unix.EACCES) {
		t.Errorf("write: %v, want read-only file system", err)
	}
}

func testASingleNodeVolumeIsOpenOnOneLivingNode(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-rwo", 16*mib)
	req := openRequest(v.GetId())
	req.Grant.SingleNode = true
	if _, err := h.Node(t, "node-a").OpenAccess(within(t, 60*time.Second), req); err != nil {
		t.Fatal(err)
	}
	// The first node's kernel lives on without its node plugin.
	first := holdLock(t, "kernel of node-a", v.GetId(), "file")
	second := h.Node(t, "node-b")
	_, err := second.OpenAccess(within(t, 60*time.Second), req)
	wantCode(t, err, codes.FailedPrecondition)
	var access *agentv1.OpenAccessResponse
	eventually(t, 60*time.Second, "the second node takes over when the first counts as dead", func() bool {
		if err := first.Renew(); err != nil {
			t.Fatal(err)
		}
		access, err = second.OpenAccess(within(t, 60*time.Second), req)
		return err == nil
	})
	if taken := access.GetTakenFrom(); len(taken) != 1 || taken[0] != "node-a" {
		t.Errorf("taken from %q", taken)
	}
	dir := h.Mount(t, access)
	if err := tryLock(filepath.Join(dir, "file")); err != nil {
		t.Errorf("the first node's lock is not free: %v", err)
	}
	if err := first.Renew(); err != nil {
		t.Errorf("the first node's kernel should still have its lease, else this shows nothing: %v", err)
	}
	got, err := h.Controller(t).GetVolume(within(t, 60*time.Second), &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Id{Id: v.GetId()}})
	if err != nil || len(got.GetNodes()) != 1 || got.GetNodes()[0] != "node-b" {
		t.Errorf("nodes %v, %v", got.GetNodes(), err)
	}
}

// testGrantsOfABootThatIsOverAreClosed has the manager say that a node has booted which is silent: it was installed anew, and knows nothing of its grants.
func testGrantsOfABootThatIsOverAreClosed(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-boot", 16*mib)
	node, manager := h.Node(t, "node-anew"), h.Manager(t)
	req := openRequest(v.GetId())
	access, err := node.OpenAccess(within(t, 60*time.Second), req)
	if err != nil {
		t.Fatal(err)
	}
	dir := h.Mount(t, access)
	status := func() *agentv1.ServerStatus {
		t.Helper()
		st, err := manager.GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	boot := req.GetClient().GetBootId()
	eventually(t, 60*time.Second, "the node counts as dead", func() bool { return status().GetSilentBoots()["node-anew"] == boot })
	end := func(request *agentv1.SetNodeGoneRequest) error {
		_, err := manager.SetNodeGone(within(t, 60*time.Second), request)
		return err
	}
	wantCode(t, end(&agentv1.SetNodeGoneRequest{Node: "node-anew", Gone: true, EndedBootId: boot}), codes.InvalidArgument)
	if err := end(&agentv1.SetNodeGoneRequest{Node: "node-anew", EndedBootId: "another boot"}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.ReadDir(dir); err != nil {
		t.Errorf("the grants of this boot were closed with those of another: %v", err)
	}
	if err := end(&agentv1.SetNodeGoneRequest{Node: "node-anew", EndedBootId: boot}); err != nil {
		t.Fatal(err)
	}
	if st := status(); slices.Contains(st.GetGrantedNodes(), "node-anew") || slices.Contains(st.GetGoneNodes(), "node-anew") {
		t.Errorf("granted %v, gone %v", st.GetGrantedNodes(), st.GetGoneNodes())
	}
	if _, err := os.ReadDir(dir); err == nil {
		t.Error("a mount of the boot that is over can still be read")
	}
}

func testCallersWithoutTheRoleAreRefused(t *testing.T, h *host.Host) {
	t.Helper()
	req := &agentv1.CreateVolumeRequest{Name: "pvc-forbidden", Spec: spec(16 * mib)}
	_, err := h.Stranger(t).CreateVolume(within(t, 60*time.Second), req)
	wantCode(t, err, codes.Unavailable) // the handshake fails

	_, err = h.Node(t, "node-a").CreateVolume(within(t, 60*time.Second), req)
	wantCode(t, err, codes.PermissionDenied)
	_, err = h.Manager(t).CreateVolume(within(t, 60*time.Second), req)
	wantCode(t, err, codes.PermissionDenied)
	_, err = h.Controller(t).OpenAccess(within(t, 60*time.Second), openRequest("aaaaaaaaaaaaaaaa"))
	wantCode(t, err, codes.PermissionDenied)
}

func testIDsThatAreNoIDsReachNothing(t *testing.T, h *host.Host) {
	t.Helper()
	c, node := h.Controller(t), h.Node(t, "node-a")
	create(t, c, "pvc-there", 16*mib)
	for _, id := range []string{"", ".", "..", "../volumes", "../../etc", "/", "a/../b", "aaaaaaaaaaaaaaa", "AAAAAAAAAAAAAAAA", "aaaaaaaaaaaaaaa\x00", "aaaaaaaaaaaaaaaa/", "%2e%2e%2faaaaaaaaaa", "e-", "e-..", "e-../volumes"} {
		ctx := within(t, 60*time.Second)
		if _, err := c.DeleteVolume(ctx, &agentv1.DeleteVolumeRequest{Id: id}); err != nil {
			t.Errorf("delete %q: %v", id, err)
		}
		_, err := c.GetVolume(ctx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Id{Id: id}})
		wantCode(t, err, codes.NotFound)
		_, err = c.ExpandVolume(ctx, &agentv1.ExpandVolumeRequest{Id: id, Bytes: gib})
		wantCode(t, err, codes.NotFound)
		_, err = node.GetUsage(ctx, &agentv1.GetUsageRequest{Id: id})
		wantCode(t, err, codes.NotFound)
		_, err = node.OpenAccess(ctx, openRequest(id))
		wantCode(t, err, codes.NotFound)
		_, err = node.SetGroup(ctx, &agentv1.SetGroupRequest{VolumeId: id, Gid: 5000})
		wantCode(t, err, codes.FailedPrecondition) // the node does not have it open
		_, err = c.ModifyVolume(ctx, &agentv1.ModifyVolumeRequest{Id: id, Inodes: new(int64(5000))})
		wantCode(t, err, codes.NotFound)
		if _, err := c.ConfirmVolumes(ctx, &agentv1.ConfirmVolumesRequest{Ids: []string{id}}); err != nil {
			t.Errorf("confirm %q: %v", id, err)
		}
		_, err = c.CreateSnapshot(ctx, &agentv1.CreateSnapshotRequest{Name: "snapshot-of-" + fmt.Sprintf("%x", id), SourceVolumeId: id})
		wantCode(t, err, codes.NotFound)
		if _, err := c.DeleteSnapshot(ctx, &agentv1.DeleteSnapshotRequest{Id: id}); err != nil {
			t.Errorf("delete snapshot %q: %v", id, err)
		}
		if id == "" { // no source, no filter
			continue
		}
		_, err = c.CreateVolume(ctx, &agentv1.CreateVolumeRequest{Name: "copy-" + fmt.Sprintf("%x", id), Spec: spec(16 * mib), SourceVolumeId: id})
		wantCode(t, err, codes.NotFound)
		_, err = c.CreateVolume(ctx, &agentv1.CreateVolumeRequest{Name: "restore-" + fmt.Sprintf("%x", id), Spec: spec(16 * mib), SourceSnapshotId: id})
		wantCode(t, err, codes.NotFound)
		snapshots, err := c.ListSnapshots(ctx, &agentv1.ListSnapshotsRequest{Id: id, SourceVolumeId: id, AfterId: id})
		if err != nil || len(snapshots.GetSnapshots()) != 0 {
			t.Errorf("snapshots of %q: %v, %v", id, snapshots, err)
		}
	}
	for _, dir := range []string{"volumes", "trash", ".nfs-operator/volumes"} {
		if _, err := os.Stat(filepath.Join(h.DataDir(), dir)); err != nil {
			t.Error(err)
		}
	}
}
