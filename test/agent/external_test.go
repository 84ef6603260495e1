//go:build vm

package agent

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nas"
)

const shareOwner = "cluster-1/test"

// external is a host with an NFS server that exists elsewhere.
func external(t *testing.T, o nas.Options) (*host.Host, *nas.NAS) {
	t.Helper()
	h := host.New(t)
	o.Root, o.Device = h.Root(), host.DiskLarge
	return h, nas.Start(t, o)
}

func shareAt(path string, options ...string) config.External {
	return config.External{Server: nas.Address, Path: path, MountOptions: options, Owner: shareOwner}
}

func statusOf(t *testing.T, h *host.Host) *agentv1.ServerStatus {
	t.Helper()
	st, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// wantReason waits until an agent says why it does not serve.
func wantReason(t *testing.T, a *host.Agent, reason string, words ...string) {
	t.Helper()
	var last string
	eventually(t, 60*time.Second, reason, func() bool {
		var code int
		code, last = a.Get("/readyz")
		return code == http.StatusServiceUnavailable && strings.HasPrefix(last, reason+": ")
	})
	for _, word := range words {
		if !strings.Contains(last, word) {
			t.Errorf("%q does not say %q", last, word)
		}
	}
	eventually(t, 10*time.Second, "alive", func() bool { // not in the moment in which it begins anew
		code, _ := a.Get("/livez")
		return code == http.StatusOK
	})
}

// mountShare mounts what an agent has answered, as a node does.
func mountShare(t *testing.T, h *host.Host, access *agentv1.OpenAccessResponse) string {
	t.Helper()
	if access.GetServer() != nas.Address {
		t.Fatalf("server %q", access.GetServer())
	}
	return h.Mount(t, access)
}

// TestExternalShare is the life of volumes on a share that can clone files.
func TestExternalShare(t *testing.T) {
	h, n := external(t, nas.Options{})
	dir, path := n.MakeDir(t, "share", 0o755)
	a := h.Start(t, h.External(shareAt(path)))
	a.WaitServing(t)
	c := h.Controller(t)

	st := statusOf(t, h)
	if can := st.GetCapabilities(); !can.GetReflink() || can.GetQuota() || can.GetAccess() || !can.GetXattrs() {
		t.Errorf("capabilities %v", can)
	}
	if st.GetNfsVersion() != "4.2" || st.GetShareOwner() != shareOwner || st.GetServerId() == "" || st.GetCapacity().GetTotalBytes() == 0 {
		t.Errorf("status %v", st)
	}
	if len(st.GetWarnings()) > 0 {
		t.Errorf("warnings %q: what the share cannot do is said by the capabilities", st.GetWarnings())
	}

	v, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{
		Name: "pvc-1", Spec: &agentv1.VolumeSpec{Bytes: 4 * mib, Mode: 0o2770, Uid: 1000, Gid: 2000, ClaimNamespace: "team", ClaimName: "data"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var root unix.Stat_t
	if err := unix.Stat(filepath.Join(dir, "volumes", v.GetId()), &root); err != nil || root.Mode&0o7777 != 0o2770 || root.Uid != 1000 || root.Gid != 2000 {
		t.Errorf("root %+v, %v", root, err)
	}
	if again := create(t, c, "pvc-1", 4*mib); again.GetId() != v.GetId() {
		t.Errorf("another volume: %v", again)
	}

	opened := open(t, h.Node(t, "node-1"), v.GetId())
	if opened.GetPath() != path+"/volumes/"+v.GetId() {
		t.Errorf("path %q", opened.GetPath())
	}
	mounted := mountShare(t, h, opened)
	writeTree(t, mounted)

	_, err = c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()})
	wantCode(t, err, codes.FailedPrecondition)
	grown, err := c.ExpandVolume(within(t, 60*time.Second), &agentv1.ExpandVolumeRequest{Id: v.GetId(), Bytes: 8 * mib})
	if err != nil || grown.GetSpec().GetBytes() != 8*mib {
		t.Errorf("expanded to %v, %v", grown, err)
	}
	_, err = h.Manager(t).GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: v.GetId()})
	wantCode(t, err, codes.FailedPrecondition)
	squash := agentv1.Squash_SQUASH_ROOT
	_, err = c.ModifyVolume(within(t, 60*time.Second), &agentv1.ModifyVolumeRequest{Id: v.GetId(), Squash: &squash})
	wantCode(t, err, codes.InvalidArgument)

	snapshotAndRestore(t, h, c, v.GetId(), mounted)
	host.Unmount(mounted)
	if _, err := h.Manager(t).SetNodeGone(within(t, 60*time.Second), &agentv1.SetNodeGoneRequest{Node: "node-1", Gone: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
		t.Error(err)
	}
	eventually(t, 60*time.Second, "the trash is empty", func() bool {
		left, err := os.ReadDir(filepath.Join(dir, "trash"))
		return err == nil && len(left) == 0
	})
}

func writeTree(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o750); err != nil {
		t.Fatal(err)
	}
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, "sub", fmt.Sprint(i)), []byte(strings.Repeat("x", i*1000)), 0o640); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(filepath.Join(dir, "sub", fmt.Sprint(i)), 1000+i, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
}

func snapshotAndRestore(t *testing.T, h *host.Host, c agentv1.AgentClient, source, mounted string) {
	t.Helper()
	s := snapshotReady(t, c, &agentv1.CreateSnapshotRequest{Name: "snap-1", SourceVolumeId: source})
	if err := os.WriteFile(filepath.Join(mounted, "sub", "3"), []byte("changed"), 0o640); err != nil {
		t.Fatal(err)
	}
	v, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: "restored", Spec: spec(16 * mib), SourceSnapshotId: s.GetId()})
	if err != nil {
		t.Fatal(err)
	}
	restored := mountShare(t, h, open(t, h.Node(t, "node-2"), v.GetId()))
	text, err := os.ReadFile(filepath.Join(restored, "sub", "3"))
	if err != nil || string(text) != strings.Repeat("x", 3000) {
		t.Errorf("restored %d bytes, %v", len(text), err)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(restored, "sub", "7"), &st); err != nil || st.Uid != 1007 || st.Mode&0o777 != 0o640 {
		t.Errorf("restored %+v, %v", st, err)
	}
	if target, err := os.Readlink(filepath.Join(restored, "link")); err != nil || target != "/etc/passwd" {
		t.Errorf("restored link %q, %v", target, err)
	}
}

// TestExternalShareIsKept: data of deleted volumes that are to be kept come back, after kill -9, too.
func TestExternalShareIsKept(t *testing.T) {
	h, n := external(t, nas.Options{OnlyNFS41: true})
	dir, path := n.MakeDir(t, "share", 0o755)
	configured := h.External(shareAt(path))
	a := h.Start(t, configured)
	a.WaitServing(t)
	c := h.Controller(t)
	if st := statusOf(t, h); st.GetNfsVersion() != "4.1" || st.GetCapabilities().GetReflink() {
		t.Errorf("status %v", st)
	}
	if _, err := c.CreateSnapshot(within(t, 60*time.Second), &agentv1.CreateSnapshotRequest{Name: "s", SourceVolumeId: create(t, c, "v", mib).GetId()}); err != nil {
		wantCode(t, err, codes.FailedPrecondition)
	} else {
		t.Error("a snapshot without clones")
	}
	_, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: "clone", Spec: spec(mib), SourceVolumeId: create(t, c, "v", mib).GetId()})
	wantCode(t, err, codes.InvalidArgument)
	_, err = c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{
		Name: "squashed", Spec: &agentv1.VolumeSpec{Bytes: mib, Mode: 0o777, Squash: agentv1.Squash_SQUASH_ALL},
	})
	wantCode(t, err, codes.InvalidArgument)

	for name, what := range map[string]agentv1.OnDelete{
		"retained": agentv1.OnDelete_ON_DELETE_RETAIN, "archived": agentv1.OnDelete_ON_DELETE_ARCHIVE,
	} {
		s := spec(mib)
		s.OnDelete = what
		v, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: name, Spec: s})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "volumes", v.GetId(), "file"), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
			t.Fatal(err)
		}
		a.Kill()
		a = h.Start(t, configured)
		a.WaitServing(t)
		c = h.Controller(t)
		request := openRequest(v.GetId())
		request.Reattach = true
		opened, err := h.Node(t, "node-1").OpenAccess(within(t, 60*time.Second), request)
		if err != nil {
			t.Fatal(err)
		}
		mounted := mountShare(t, h, opened)
		if text, err := os.ReadFile(filepath.Join(mounted, "file")); err != nil || string(text) != name {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
}

// TestExternalServerIsAway: calls end in time, the agent lives, and works again by itself when its server does.
func TestExternalServerIsAway(t *testing.T) {
	h, n := external(t, nas.Options{})
	_, path := n.MakeDir(t, "share", 0o755)
	way := nas.NewWay(t)
	a := h.Start(t, h.External(shareAt(path, way.Option())))
	a.WaitServing(t)
	c := h.Controller(t)
	v := create(t, c, "before", mib)
	for round := range 2 {
		during := fmt.Sprintf("during-%d", round)
		way.Cut()
		begin := time.Now()
		_, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: during, Spec: spec(mib)})
		if err == nil {
			t.Fatal("a volume was made on a server that is away")
		}
		wantCode(t, err, codes.Unavailable)
		t.Logf("the first call failed after %s: %v", time.Since(begin).Round(100*time.Millisecond), err)
		wantReason(t, a, "ShareUnreachable")
		begin = time.Now()
		_, err = c.GetCapacity(within(t, 60*time.Second), &agentv1.GetCapacityRequest{})
		wantCode(t, err, codes.Unavailable)
		if st := statusOf(t, h); st.GetServing() || st.GetReason() != "ShareUnreachable" {
			t.Errorf("status %v", st)
		}
		if took := time.Since(begin); took > 2*time.Second {
			t.Errorf("calls waited for %s", took)
		}
		way.Mend()
		begin = time.Now()
		a.WaitServing(t)
		t.Logf("serving %s after the server is back", time.Since(begin).Round(100*time.Millisecond))
		if got := create(t, c, "before", mib); got.GetId() != v.GetId() {
			t.Errorf("another volume: %v", got)
		}
		create(t, c, during, mib)
	}
}

// TestExternalServerComesBackEmpty: the agent that has begun a share, and whose configuration does not know it yet, begins no other one
// when its server exports an empty directory after a restart.
func TestExternalServerComesBackEmpty(t *testing.T) {
	h, n := external(t, nas.Options{})
	dir, path := n.MakeDir(t, "share", 0o755)
	way := nas.NewWay(t)
	a := h.Start(t, h.External(shareAt(path, way.Option())))
	a.WaitServing(t)
	id := statusOf(t, h).GetServerId()
	create(t, h.Controller(t), "v", mib)
	way.Cut()
	wantReason(t, a, "ShareUnreachable")
	if err := os.Rename(dir, dir+"-hidden"); err != nil {
		t.Fatal(err)
	}
	n.MakeDir(t, "share", 0o755)
	way.Mend()
	wantReason(t, a, "ShareChanged", id)
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("something was made in the empty directory: %v, %v", left, err)
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"-hidden", dir); err != nil {
		t.Fatal(err)
	}
	a.WaitServing(t)
}

// TestExternalShareHasOneMaster: neither another backend's agent, nor a second one of the same, writes to a share.
func TestExternalShareHasOneMaster(t *testing.T) {
	h, n := external(t, nas.Options{})
	dir, path := n.MakeDir(t, "share", 0o755)
	a := h.Start(t, h.External(shareAt(path)))
	a.WaitServing(t)
	id := statusOf(t, h).GetServerId()

	other := h.External(shareAt(path))
	other.DataDir = "/run/share-2"
	other.External.Owner = "cluster-2/test"
	b := h.StartSecond(t, other)
	wantReason(t, b, "ShareOwned", shareOwner, "cluster-2/test")
	b.Kill()

	second := h.External(shareAt(path))
	second.DataDir = "/run/share-2"
	b = h.StartSecond(t, second)
	wantReason(t, b, "ShareLocked", "another agent", shareOwner)
	begin := time.Now()
	a.Kill()
	b.WaitServing(t)
	t.Logf("the second agent serves %s after the first was killed", time.Since(begin).Round(100*time.Millisecond))
	b.Kill()

	other.External.TakeOver = shareOwner
	b = h.StartSecond(t, other)
	b.WaitServing(t)
	b.Kill()
	a = h.Start(t, h.External(shareAt(path)))
	wantReason(t, a, "ShareOwned", "cluster-2/test")
	if st := statusOf(t, h); st.GetShareOwner() != "cluster-2/test" {
		t.Errorf("status %v", st)
	}
	a.Kill()

	moved := h.External(shareAt("/"))
	a = h.Start(t, moved)
	wantReason(t, a, "ShareNotEmpty", "share")
	a.Kill()
	_, empty := n.MakeDir(t, "empty", 0o755)
	lost := h.External(shareAt(empty))
	lost.External.ServerID = id
	a = h.Start(t, lost)
	wantReason(t, a, "ShareChanged", id)
	a.Kill()
	if left, err := os.ReadDir(filepath.Join(n.Dir, "empty")); err != nil || len(left) > 0 {
		t.Errorf("something was made on a share that is not ours: %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(dir, ".nfs-operator", "server.json")); err != nil {
		t.Error(err)
	}
}

// TestExternalShareThatCannotBeUsed: the agent says what is wrong, and serves when it has been put right.
func TestExternalShareThatCannotBeUsed(t *testing.T) {
	h, n := external(t, nas.Options{RootSquash: true})
	_, open := n.MakeDir(t, "open", 0o777)
	_, closed := n.MakeDir(t, "closed", 0o755)
	for _, path := range []string{closed, open} {
		a := h.Start(t, h.External(shareAt(path)))
		wantReason(t, a, "ShareRootSquashed", "no_root_squash")
		a.Kill()
	}
	a := h.Start(t, h.External(shareAt(open)))
	wantReason(t, a, "ShareRootSquashed")
	n.SquashRoot(t, false)
	a.WaitServing(t)
	a.Kill()

	a = h.Start(t, h.External(shareAt("/missing")))
	wantReason(t, a, "SharePathMissing")
	a.Kill()
	a = h.Start(t, h.External(shareAt(closed, "port=1")))
	wantReason(t, a, "ShareUnreachable")
	a.Kill()
	n.SetReadOnly(t, true)
	a = h.Start(t, h.External(shareAt(closed)))
	wantReason(t, a, "ShareReadOnly")
	n.SetReadOnly(t, false)
	a.WaitServing(t)
}

// TestExternalSingleNodeVolume: nothing can take a volume from a node on an external server, so only the cluster's word that a node is gone
// gives it to another.
func TestExternalSingleNodeVolume(t *testing.T) {
	h, n := external(t, nas.Options{NoReflink: true})
	_, path := n.MakeDir(t, "share", 0o755)
	a := h.Start(t, h.External(shareAt(path)))
	a.WaitServing(t)
	if st := statusOf(t, h); st.GetNfsVersion() != "4.2" || st.GetCapabilities().GetReflink() {
		t.Errorf("a file system without reflink: %v", st)
	}
	v := create(t, h.Controller(t), "single", mib)
	request := openRequest(v.GetId())
	request.Grant.SingleNode = true
	if _, err := h.Node(t, "node-1").OpenAccess(within(t, 60*time.Second), request); err != nil {
		t.Fatal(err)
	}
	// No announcement: node-1 is silent from the beginning.
	a.Kill()
	a = h.Start(t, h.External(shareAt(path)))
	a.WaitServing(t)
	_, err := h.Node(t, "node-2").OpenAccess(within(t, 60*time.Second), request)
	wantCode(t, err, codes.FailedPrecondition)
	if err == nil || !strings.Contains(err.Error(), "out-of-service") {
		t.Errorf("%v does not say what to do", err)
	}
	if _, err := h.Manager(t).SetNodeGone(within(t, 60*time.Second), &agentv1.SetNodeGoneRequest{Node: "node-1", Gone: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Node(t, "node-2").OpenAccess(within(t, 60*time.Second), request); err != nil {
		t.Error(err)
	}
}
