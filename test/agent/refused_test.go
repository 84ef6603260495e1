//go:build vm

package agent

import (
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nfs4"
)

// testSquash looks at who owns what a client makes, also after the squash was changed under its mount.
func testSquash(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	v := create(t, c, "pvc-squash", 16*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-squash"), v.GetId()))
	const user, anonymousUser, anonymousGroup = 4321, 1234, 2345
	makes := func(as uint32, name string) (uid, gid uint32) {
		t.Helper()
		cmd := exec.Command("touch", filepath.Join(dir, name))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: as, Gid: as}}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("touch %s as %d: %v: %s", name, as, err, out)
		}
		var s unix.Stat_t
		if err := unix.Stat(filepath.Join(h.DataDir(), "volumes", v.GetId(), name), &s); err != nil {
			t.Fatal(err)
		}
		return s.Uid, s.Gid
	}
	for _, test := range []struct {
		squash     agentv1.Squash
		root, user [2]uint32
	}{
		{agentv1.Squash_SQUASH_NONE, [2]uint32{0, 0}, [2]uint32{user, user}},
		{agentv1.Squash_SQUASH_ROOT, [2]uint32{anonymousUser, anonymousGroup}, [2]uint32{user, user}},
		{agentv1.Squash_SQUASH_ALL, [2]uint32{anonymousUser, anonymousGroup}, [2]uint32{anonymousUser, anonymousGroup}},
	} {
		_, err := c.ModifyVolume(within(t, time.Minute), &agentv1.ModifyVolumeRequest{
			Id: v.GetId(), Squash: &test.squash, AnonymousUid: new(uint32(anonymousUser)), AnonymousGid: new(uint32(anonymousGroup)),
		})
		if err != nil {
			t.Fatal(err)
		}
		if uid, gid := makes(0, test.squash.String()+"-root"); [2]uint32{uid, gid} != test.root {
			t.Errorf("%s: a file of root belongs to %d:%d, want %v", test.squash, uid, gid, test.root)
		}
		if uid, gid := makes(user, test.squash.String()+"-user"); [2]uint32{uid, gid} != test.user {
			t.Errorf("%s: a file of user %d belongs to %d:%d, want %v", test.squash, user, uid, gid, test.user)
		}
	}
	if _, err := os.ReadDir(dir); err != nil {
		t.Errorf("the mount after all changes: %v", err)
	}
}

// testASnapshotIsNotExported: its data is reached by a volume that is made from it, and in no other way.
func testASnapshotIsNotExported(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	v := create(t, c, "pvc-unexported", 16*mib)
	open(t, h.Node(t, "node-unexported"), v.GetId())
	snap := snapshotReady(t, c, &agentv1.CreateSnapshotRequest{Name: "snap-unexported", SourceVolumeId: v.GetId()})
	wantRefused(t, "/"+snap.GetId())
	wantRefused(t, "/snapshots/"+snap.GetId())
	wantRefused(t, "/s-"+snap.GetId())
	_, err := h.Node(t, "node-unexported").OpenAccess(within(t, time.Minute), openRequest(snap.GetId()))
	if err == nil {
		t.Error("a node was admitted to a snapshot")
	}
}

// testOnlyNFS41AndLaterIsServed: neither a former version of NFS nor the protocols beside it.
func testOnlyNFS41AndLaterIsServed(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-versions", 16*mib)
	access := open(t, h.Node(t, "node-versions"), v.GetId())
	for version, served := range map[string]bool{"4.0": false, "4.1": true, "4.2": true} {
		dir, err := host.TryMount(access.GetPath(), append(access.GetMountOptions(), "vers="+version)...)
		if err == nil {
			host.Unmount(dir)
		}
		if (err == nil) != served {
			t.Errorf("mount with version %s: %v", version, err)
		}
	}
	const nfs, mountd, nlm, rquota = 100003, 100005, 100021, 100011
	const success = 0 // RFC 5531, accept_stat
	for _, call := range []struct{ program, version uint32 }{{nfs, 2}, {nfs, 3}, {mountd, 1}, {mountd, 3}, {nlm, 4}, {rquota, 1}, {rquota, 2}} {
		if answer, err := callNull(call.program, call.version); err == nil && answer == success {
			t.Errorf("program %d version %d is served", call.program, call.version)
		}
	}
	if answer, err := callNull(nfs, 4); err != nil || answer != success {
		t.Errorf("NFS version 4: %d, %v", answer, err)
	}
}

// callNull calls a program's procedure 0 at the NFS port, and returns its accept_stat (RFC 5531, section 9).
func callNull(program, version uint32) (answer uint32, err error) {
	conn, err := net.DialTimeout("tcp", nfsAddress, 10*time.Second)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return 0, err
	}
	var call []byte
	for _, word := range []uint32{1<<31 | 40, 7, 0, 2, program, version, 0, 0, 0, 0, 0} {
		call = binary.BigEndian.AppendUint32(call, word)
	}
	if _, err := conn.Write(call); err != nil {
		return 0, err
	}
	reply := make([]byte, 28)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return 0, err
	}
	if denied := binary.BigEndian.Uint32(reply[12:]); denied != 0 {
		return 0, fmt.Errorf("the call was denied (%d)", denied)
	}
	return binary.BigEndian.Uint32(reply[24:]), nil
}

// testAFullDiskSaysHowMuchIsFree: who is refused learns what there is and what was asked for.
func testAFullDiskSaysHowMuchIsFree(t *testing.T, h *host.Host) {
	t.Helper()
	c := h.Controller(t)
	free := capacity(t, c).GetAvailableBytes()
	const asked = 64 * gib
	_, err := c.CreateVolume(within(t, time.Minute), &agentv1.CreateVolumeRequest{Name: "pvc-large", Spec: spec(asked)})
	var isFree, wasAsked int64
	message := status.Convert(err).Message()
	if _, scanErr := fmt.Sscanf(message, "no space left to promise: %d bytes are free, %d bytes were asked for", &isFree, &wasAsked); scanErr != nil {
		t.Fatalf("the answer is %q", message)
	}
	// With each byte of a volume come bytes for its inodes.
	if isFree < free || isFree > free+free/10 || wasAsked < asked || wasAsked > asked+asked/10 {
		t.Errorf("%q, but %d bytes are available, and %d were asked for", message, free, asked)
	}
}

// TestServesNothingBeforeAllExports kills Ganesha and asks, from the first connection that is accepted, for what was exported last:
// a client whose file handle a server does not know tells its application that the file is gone.
func TestServesNothingBeforeAllExports(t *testing.T) {
	h, _ := serving(t)
	const volumes, kills = 40, 2
	node := h.Node(t, "node-all")
	var ids []string
	for i := range volumes {
		v := create(t, h.Controller(t), fmt.Sprintf("pvc-%d", i), 16*mib)
		open(t, node, v.GetId())
		ids = append(ids, v.GetId())
	}
	for round := range kills {
		host.KillGanesha(t)
		var client *nfs4.Client
		eventually(t, time.Minute, "a connection is accepted", func() (ok bool) {
			var err error
			client, err = nfs4.Dial(nfsAddress, fmt.Sprintf("first-%d", round))
			return err == nil
		})
		for _, id := range ids {
			if _, err := client.Lookup(id); err != nil {
				t.Errorf("volume %s right after the start: %v", id, err)
			}
		}
		client.Vanish()
	}
}
