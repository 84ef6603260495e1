//go:build vm && long

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// oddLevels is how deep a tree is copied.
const oddLevels = 4096

// TestLongCopyOfManyFiles copies 100,000 files and deletes them: the log shows how far it is, and other calls are answered meanwhile.
func TestLongCopyOfManyFiles(t *testing.T) {
	const files = 100_000
	h, a := serving(t)
	c := h.Controller(t)
	v := create(t, c, "pvc-many", 2*gib)
	made := time.Now()
	makeFiles(t, filepath.Join(h.DataDir(), "volumes", v.GetId()), files)
	t.Logf("%d files made in %s", files, time.Since(made))
	begin := time.Now()
	request := &agentv1.CreateSnapshotRequest{Name: "snap-many", SourceVolumeId: v.GetId()}
	others, slowest := 0, time.Duration(0)
	for ready := false; !ready; {
		s, err := c.CreateSnapshot(within(t, 60*time.Second), request)
		if err != nil {
			t.Fatal(err)
		}
		ready = s.GetReady()
		called := time.Now()
		other := create(t, c, fmt.Sprintf("pvc-meanwhile-%d", others), mib)
		slowest = max(slowest, time.Since(called))
		if _, err := c.DeleteVolume(within(t, 30*time.Second), &agentv1.DeleteVolumeRequest{Id: other.GetId()}); err != nil {
			t.Fatal(err)
		}
		others++
	}
	t.Logf("copied in %s; meanwhile %d volumes were made and deleted, the slowest in %s", time.Since(begin), others, slowest)
	if n := strings.Count(a.Log(), `"Copying"`); n < 4 {
		t.Errorf("the log shows progress %d times", n)
	}
	if _, err := c.DeleteVolume(within(t, 30*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
		t.Fatal(err)
	}
	status := func() *agentv1.ServerStatus {
		st, err := h.Manager(t).GetStatus(within(t, 10*time.Second), &agentv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return st
	}
	if st := status(); st.GetTrashBytes() < files*4096 {
		t.Errorf("%d bytes in the trash", st.GetTrashBytes())
	}
	create(t, c, "pvc-while-trash", mib)
	eventually(t, 20*time.Minute, "trash is empty", func() bool { return status().GetTrashBytes() == 0 })
}

// TestLongRestartWithManyVolumes kills an agent that has 5,000 volumes below a client that writes. How long a start takes is what
// hack/bench measures; here nothing may fail, and the log says where the time goes.
func TestLongRestartWithManyVolumes(t *testing.T) {
	const volumes, callers = 5000, 16
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	roomy := h.Config(host.DiskLarge)
	roomy.OvercommitPercent = 1000
	a := h.Start(t, roomy)
	a.WaitServing(t)
	c := h.Controller(t)
	v := create(t, c, "pvc-written", 64*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	begin := time.Now()
	var made errgroup.Group
	made.SetLimit(callers)
	for i := range volumes {
		made.Go(func() error {
			_, err := c.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: fmt.Sprintf("pvc-many-%d", i), Spec: spec(mib)})
			return err
		})
	}
	if err := made.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d volumes made in %s", volumes, time.Since(begin).Round(time.Second))
	for _, end := range []string{"killed", "stopped"} {
		file := filepath.Join(dir, end)
		w := startWriter(t, file)
		wrote := awaitSize(t, file, 16)
		if end == "killed" {
			a.Kill()
		} else {
			a.Stop(t)
		}
		begin := time.Now()
		a = h.Start(t, roomy)
		a.WaitServing(t)
		t.Logf("%s: serving %s after the start", end, time.Since(begin).Round(time.Millisecond))
		awaitSize(t, file, wrote+16) // past the grace period
		got := w.finish(t)
		if text, err := os.ReadFile(file); got.Error != "" || err != nil || int64(len(text)) != got.Written {
			t.Errorf("%s: %s; %d bytes of %d (%v)", end, got.Error, len(text), got.Written, err)
		}
		t.Logf("%s: longest write %s; the agent's log:\n%s", end, got.Longest.Round(time.Millisecond), firstLines(a.Log(), 60))
	}
	list, err := c.ListVolumes(within(t, 60*time.Second), &agentv1.ListVolumesRequest{})
	if err != nil || len(list.GetVolumes()) != volumes+1 {
		t.Errorf("%d volumes, %v", len(list.GetVolumes()), err)
	}
}

func firstLines(text string, n int) string {
	lines := strings.SplitN(text, "\n", n+1)
	return strings.Join(lines[:min(n, len(lines))], "\n")
}

// awaitSize waits until a file has at least so many bytes, and says how many.
func awaitSize(t *testing.T, path string, bytes int64) (size int64) {
	t.Helper()
	eventually(t, 2*time.Minute, "it is written to", func() bool {
		if info, err := os.Stat(path); err == nil {
			size = info.Size()
		}
		return size >= bytes
	})
	return size
}

// makeFiles makes them in several directories at once: a file waits for the disk, and those that wait together do so once.
func makeFiles(t *testing.T, root string, files int) {
	t.Helper()
	const directories = 50
	var all errgroup.Group
	for i := range directories {
		all.Go(func() error {
			dir := filepath.Join(root, fmt.Sprintf("dir-%d", i))
			if err := os.Mkdir(dir, 0o755); err != nil {
				return err
			}
			for f := range files / directories {
				if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", f)), []byte("x"), 0o640); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
}
