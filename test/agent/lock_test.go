//go:build vm

package agent

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nfs4"
)

// holdLock opens a file with a client of its own, and locks it.
func holdLock(t *testing.T, owner, id, file string) *nfs4.Client {
	t.Helper()
	c, err := nfs4.Dial(nfsAddress, owner)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Vanish)
	if err := c.Reclaimed(); err != nil {
		t.Fatal(err)
	}
	root, err := c.Lookup(id)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 90*time.Second, "a lock is had (there may be a grace period)", func() bool {
		err = c.OpenAndLock(root, file)
		return err == nil
	})
	return c
}

// testADeadClientsLockIsFree takes a lock with a client that then vanishes. Another must have it when the lease is over, without
// anybody's help.
func testADeadClientsLockIsFree(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-lock", 16*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-lock"), v.GetId()))
	dead := holdLock(t, "dead client", v.GetId(), "file")
	path := filepath.Join(dir, "file")
	if err := tryLock(path); err == nil {
		t.Fatal("two clients have one lock")
	}
	dead.Vanish()
	begin := time.Now()
	// The lease (10 s), what is left of the tick by which Ganesha looks for such clients (half of it), and as much again for a busy machine.
	eventually(t, 30*time.Second, "the lock of a dead client is free", func() bool { return tryLock(path) == nil })
	t.Logf("lease 10 s, tick 5 s: the lock of a dead client was free after %s", time.Since(begin).Round(100*time.Millisecond))
}
