//go:build vm && long

package agent

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestADiskThatGrowsAndMoves serves a disk under one device number, lets it grow below a steady write, and serves it again under
// another number, by an agent of another cluster: everything is there, a client that still has a mount goes on, and what was deleted and
// retained comes back to a node that stages it.
func TestADiskThatGrowsAndMoves(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskSmall)
	loop := loopDevice(t, host.DiskSmall, gib+gib/4)
	a := h.Start(t, h.Config(loop))
	a.WaitServing(t)
	c := h.Controller(t)
	v := create(t, c, "pvc-moves", 64*mib)
	kept := createWith(t, c, "pvc-retained", agentv1.OnDelete_ON_DELETE_RETAIN)
	archived := createWith(t, c, "pvc-archived", agentv1.OnDelete_ON_DELETE_ARCHIVE)
	for _, id := range []string{kept.GetId(), archived.GetId()} {
		if err := os.WriteFile(filepath.Join(h.DataDir(), "volumes", id, "file"), []byte(id), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := c.DeleteVolume(within(t, 30*time.Second), &agentv1.DeleteVolumeRequest{Id: id}); err != nil {
			t.Fatal(err)
		}
	}
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))

	w := startWriter(t, filepath.Join(dir, "steady"))
	before := capacity(t, c).GetTotalBytes()
	setLoopSize(t, loop, 2*gib)
	eventually(t, 3*time.Minute, "the file system has grown", func() bool { return capacity(t, c).GetTotalBytes() > before+gib/2 })
	if got := w.finish(t); got.Error != "" || got.Written == 0 {
		t.Errorf("write while the disk grew: %+v", got)
	}
	before = capacity(t, c).GetTotalBytes()
	a.Stop(t)
	if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
		t.Fatalf("losetup -d: %v: %s", err, out)
	}

	elsewhere := host.New(t) // with another CA
	b := elsewhere.Start(t, elsewhere.Config(host.DiskSmall))
	b.WaitServing(t)
	c = elsewhere.Controller(t)
	if text, err := os.ReadFile(filepath.Join(dir, "steady")); err != nil || len(text) == 0 {
		t.Errorf("through the old mount: %d bytes, %v", len(text), err)
	}
	if total := capacity(t, c).GetTotalBytes(); total != before {
		t.Errorf("%d bytes, were %d", total, before)
	}
	node := elsewhere.Node(t, "node-z")
	for _, id := range []string{kept.GetId(), archived.GetId()} {
		request := openRequest(id)
		_, err := node.OpenAccess(within(t, 60*time.Second), request)
		wantCode(t, err, codes.NotFound) // a node that is late
		request.Reattach = true
		opened, err := node.OpenAccess(within(t, 60*time.Second), request)
		if err != nil {
			t.Fatal(err)
		}
		back := elsewhere.Mount(t, opened)
		if text, err := os.ReadFile(filepath.Join(back, "file")); err != nil || string(text) != id {
			t.Errorf("brought back: %q, %v", text, err)
		}
		host.Unmount(back)
	}
	host.Unmount(dir)
	b.Stop(t)
	refusedAsNewer(t, elsewhere)
}

func createWith(t *testing.T, c agentv1.AgentClient, name string, onDelete agentv1.OnDelete) *agentv1.Volume {
	t.Helper()
	s := spec(16 * mib)
	s.OnDelete = onDelete
	v, err := c.CreateVolume(within(t, 30*time.Second), &agentv1.CreateVolumeRequest{Name: name, Spec: s})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// refusedAsNewer writes a format version that does not exist yet to the disk, and starts an agent on it.
func refusedAsNewer(t *testing.T, h *host.Host) {
	t.Helper()
	dir := t.TempDir()
	if err := xfs.Mount(host.DiskSmall, dir); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, ".nfs-operator/server.json")
	var record store.Server
	text, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(text, &record)
	}
	record.FormatVersion += 10
	if err == nil {
		text, err = json.Marshal(record)
	}
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := xfs.Unmount(dir); err != nil {
		t.Fatal(err)
	}
	a := h.Start(t, h.Config(host.DiskSmall))
	eventually(t, 60*time.Second, "refused", func() bool {
		code, body := a.Get("/readyz")
		return code == 503 && strings.HasPrefix(body, "NewerFormat: ") && strings.Contains(body, "format 11, this program knows 1")
	})
}

// loopDevice shows the start of a disk as a device of its own.
func loopDevice(t *testing.T, disk string, bytes int64) string {
	t.Helper()
	out, err := exec.Command("losetup", "--find", "--show", disk).CombinedOutput()
	if err != nil {
		t.Fatalf("losetup: %v: %s", err, out)
	}
	loop := strings.TrimSpace(string(out))
	t.Cleanup(func() { _ = exec.Command("losetup", "-d", loop).Run() })
	setLoopSize(t, loop, bytes)
	return loop
}

func setLoopSize(t *testing.T, loop string, bytes int64) {
	t.Helper()
	f, err := os.OpenFile(loop, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := unix.IoctlLoopGetStatus64(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	info.Sizelimit = uint64(bytes)
	if err := unix.IoctlLoopSetStatus64(int(f.Fd()), info); err != nil {
		t.Fatal(err)
	}
}
