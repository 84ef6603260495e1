//go:build vm && long

package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// defaults is a configuration with the lease and the grace period that a backend has when nobody says otherwise.
func defaults(h *host.Host) config.Config {
	c := h.Config(host.DiskLarge)
	c.LeaseSeconds, c.GraceSeconds = 12, 30
	return c
}

// graceOver is what Ganesha logs when locks can be had again, and those that were not reclaimed are lost.
const graceOver = "NOT IN GRACE"

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
	before := strings.Count(a.Log(), graceOver)
	begin := time.Now()
	host.KillGanesha(t)
	opened := make(chan error, 1)
	go func() { opened <- newFile(file + "-new") }()
	eventually(t, 60*time.Second, "serving again", func() bool { code, _ := a.Get("/readyz"); return code == 200 })
	serving := time.Since(begin)
	eventually(t, 120*time.Second, "grace is over", func() bool { return strings.Count(a.Log(), graceOver) > before })
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
