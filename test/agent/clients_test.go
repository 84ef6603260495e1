//go:build vm && long

package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestAVolumeOpenOnThousandsOfNodes: a client whose address is the last of 3,001 mounts and writes; another comes and goes meanwhile.
func TestAVolumeOpenOnThousandsOfNodes(t *testing.T) {
	const others = 3000
	h, a := serving(t)
	v := create(t, h.Controller(t), "pvc-popular", 64*mib)
	h.WriteNodes(t, others, func(int) []string { return []string{v.GetId()} })
	a.Kill()
	a = h.Start(t, h.Config(host.DiskLarge))
	a.WaitServing(t)
	if dir, err := host.TryMount("/"+v.GetId(), "resvport"); err == nil {
		host.Unmount(dir)
		t.Fatal("mounted without a grant")
	}
	node := h.Node(t, "node-a")
	begin := time.Now()
	access := open(t, node, v.GetId())
	t.Logf("opened after %s", time.Since(begin))
	dir := h.Mount(t, access)
	w := startWriter(t, filepath.Join(dir, "file"))
	w.awaitMore(t)
	for i := range 5 {
		request := openRequest(v.GetId())
		request.Client.Addresses = []string{host.NodeAddress(others + i)}
		begin := time.Now()
		if _, err := h.Node(t, "node-b").OpenAccess(within(t, 60*time.Second), request); err != nil {
			t.Error(err)
		}
		t.Logf("opened by another from %s after %s", host.NodeAddress(others+i), time.Since(begin))
		w.awaitMore(t)
	}
	t.Logf("longest write %s", w.wantAllThere(t, "with 3,000 others").Longest)
	status := statusOf(t, h)
	if n := len(status.GetGrantedNodes()); n != others+2 {
		t.Errorf("%d nodes have grants", n)
	}
	announce(t, h.Node(t, "node-b"), 2) // whose connection comes from the same address
	announce(t, node, 2)
	if _, err := os.Create(filepath.Join(dir, "too late")); !isErrno(err, unix.EACCES) {
		t.Errorf("create without a grant: %v", err)
	}
}
