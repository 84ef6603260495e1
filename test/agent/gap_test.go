//go:build vm && long

package agent

import (
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
	w.awaitMore(t)
	before := strings.Count(a.Log(), graceOver)
	begin := time.Now()
	host.KillGanesha(t)
	opened := make(chan error, 1)
	go func() { opened <- newFile(file + "-new") }()
	eventually(t, 60*time.Second, "serving again", func() bool { code, _ := a.Get("/readyz"); return code == 200 })
	serving := time.Since(begin)
	awaitGraceOver(t, a, before)
	grace := time.Since(begin)
	if err := <-opened; err != nil {
		t.Errorf("%s: open of a new file: %v", name, err)
	}
	open := time.Since(begin)
	longest := w.wantAllThere(t, name).Longest
	t.Logf("%s: serving after %s, grace over after %s, longest write %s, new file open after %s", name,
		serving.Round(time.Millisecond), grace.Round(100*time.Millisecond), longest.Round(100*time.Millisecond), open.Round(100*time.Millisecond))
}
