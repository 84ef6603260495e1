//go:build vm

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nfs4"
)

// defaults is a configuration with the lease and the grace period that a backend has when nobody says otherwise.
func defaults(h *host.Host) config.Config {
	c := h.Config(host.DiskLarge)
	c.LeaseSeconds, c.GraceSeconds = 18, 30
	return c
}

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
	eventually(t, 120*time.Second, "the lock of a dead client is free", func() bool { return tryLock(path) == nil })
	t.Logf("lease 10 s, tick 5 s: the lock of a dead client was free after %s", time.Since(begin).Round(100*time.Millisecond))
}

// TestGaps measures what clients see when Ganesha is killed. It asserts only that nothing fails and nothing is lost: the figures are in
// docs/decisions.
func TestGaps(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	a := h.Start(t, defaults(h))
	a.WaitServing(t)
	id := create(t, h.Controller(t), "pvc-gap", 64*mib).GetId()
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), id))
	gap(t, a, dir, "one client that writes")
	dead := holdLock(t, "vanishes", id, "lock-of-the-dead")
	dead.Vanish()
	gap(t, a, dir, "one client that writes, one that has just died")
	gap(t, a, dir, "the same, once more")
}

func gap(t *testing.T, a *host.Agent, dir, name string) {
	t.Helper()
	file := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
	w := startWriter(t, file)
	time.Sleep(2 * time.Second) // of writes
	before := strings.Count(a.Log(), "NOT IN GRACE")
	begin := time.Now()
	host.KillGanesha(t)
	opened := make(chan error, 1)
	go func() { opened <- newFile(file + "-new") }()
	eventually(t, 60*time.Second, "serving again", func() bool { code, _ := a.Get("/readyz"); return code == 200 })
	serving := time.Since(begin)
	eventually(t, 120*time.Second, "grace is over", func() bool { return strings.Count(a.Log(), "NOT IN GRACE") > before })
	grace := time.Since(begin)
	if err := <-opened; err != nil {
		t.Errorf("%s: open of a new file: %v", name, err)
	}
	open := time.Since(begin)
	got := w.finish(t)
	t.Logf("%s: serving after %s, grace over after %s, longest write %s, new file open after %s", name,
		serving.Round(time.Millisecond), grace.Round(100*time.Millisecond), got.Longest.Round(100*time.Millisecond), open.Round(100*time.Millisecond))
	if text, err := os.ReadFile(file); got.Error != "" || err != nil || int64(len(text)) != got.Written {
		t.Errorf("%s: %s; %d bytes of %d (%v)", name, got.Error, len(text), got.Written, err)
	}
}
