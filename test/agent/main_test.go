//go:build vm

// Package agent tests the agent as a whole process on a real disk, with a real Ganesha and the kernel's NFS client.
package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30

	blockBytes = 4096
)

// serving starts an agent on a blank disk.
func serving(t *testing.T) (*host.Host, *host.Agent) {
	t.Helper()
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	a := h.Start(t, h.Config(host.DiskLarge))
	a.WaitServing(t)
	return h, a
}

// TestAServingAgent holds the tests that disturb neither the agent nor each other: a start costs seconds.
func TestAServingAgent(t *testing.T) {
	h, _ := serving(t)
	for _, test := range []struct {
		name string
		run  func(*testing.T, *host.Host)
	}{
		{"a volume has exactly its size", testVolumeHasExactlyItsSizeThroughNFS},
		{"expansion is seen by a mount in use", testExpandIsSeenByAMountInUse},
		{"delete gives the space back", testDeleteGivesTheSpaceBack},
		{"only a node with a grant can mount", testOnlyANodeWithAGrantCanMount},
		{"unprivileged control connection", testAnUnprivilegedControlConnectionMountsWithNoresvport},
		{"a read-only grant cannot write", testAReadOnlyGrantCannotWrite},
		{"single-node volume on one living node", testASingleNodeVolumeIsOpenOnOneLivingNode},
		{"grants of a boot that is over", testGrantsOfABootThatIsOverAreClosed},
		{"callers without the role are refused", testCallersWithoutTheRoleAreRefused},
		{"ids that are no ids reach nothing", testIDsThatAreNoIDsReachNothing},
		{"chown never fails", testChownNeverFails},
		{"changes beside NFS are seen", testChangesBesideNFSAreSeenAtOnce},
		{"snapshot, restore and clone", testSnapshotRestoreAndClone},
		{"a forged handle", testAForgedHandle},
		{"every thread is an I/O flusher", testEveryThreadIsAnIOFlusher},
		{"a dead client's lock", testADeadClientsLockIsFree},
		{"squash", testSquash},
		{"a snapshot is not exported", testASnapshotIsNotExported},
		{"only NFS 4.1 and later", testOnlyNFS41AndLaterIsServed},
		{"extended attributes and access lists", testAttributes},
		{"a copy that fails at the quota", testACopyThatFailsAtTheQuota},
		{"a full disk says how much is free", testAFullDiskSaysHowMuchIsFree},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, h) })
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func spec(bytes int64) *agentv1.VolumeSpec {
	return &agentv1.VolumeSpec{Bytes: bytes, Mode: 0o777}
}

func create(t *testing.T, c agentv1.AgentClient, name string, bytes int64) *agentv1.Volume {
	t.Helper()
	v, err := c.CreateVolume(within(t, 60*time.Second), &agentv1.CreateVolumeRequest{Name: name, Spec: spec(bytes)})
	if err != nil {
		t.Fatalf("create %s: %v", name, err)
	}
	return v
}

func open(t *testing.T, node agentv1.AgentClient, id string) *agentv1.OpenAccessResponse {
	t.Helper()
	resp, err := node.OpenAccess(within(t, 60*time.Second), openRequest(id))
	if err != nil {
		t.Fatalf("open access to %s: %v", id, err)
	}
	return resp
}

func openRequest(id string) *agentv1.OpenAccessRequest {
	return &agentv1.OpenAccessRequest{
		Client: &agentv1.Client{BootId: "boot-1"},
		Grant:  &agentv1.Grant{VolumeId: id, Generation: 1},
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code %v (%v), want %v", got, err, want)
	}
}

// eventually waits for something that has no event.
func eventually(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("after %s still not: %s", d, what)
}

func sizeOf(t *testing.T, dir string) int64 {
	t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		t.Fatal(err)
	}
	return int64(s.Blocks) * s.Bsize
}

func isErrno(err error, errno unix.Errno) bool { return errors.Is(err, errno) }
