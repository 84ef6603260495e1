//go:build vm && long

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
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
	quiet := makeAndDelete(t, c, "pvc-before", 20)
	begin := time.Now()
	request := &agentv1.CreateSnapshotRequest{Name: "snap-many", SourceVolumeId: v.GetId()}
	copied := make(chan error, 1)
	ctx := within(t, 10*time.Minute)
	go func() {
		copied <- again(ctx, func() error {
			_, err := c.CreateSnapshot(ctx, request)
			return err
		})
	}()
	var meanwhile []time.Duration
	for done := false; !done; {
		meanwhile = append(meanwhile, makeAndDelete(t, c, fmt.Sprintf("pvc-meanwhile-%d", len(meanwhile)), 1)...)
		select {
		case err := <-copied:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
	}
	slices.Sort(quiet)
	slices.Sort(meanwhile)
	t.Logf("copied in %s; meanwhile %d volumes were made, in %s (median) and %s (longest), before in %s and %s", time.Since(begin).Round(time.Second),
		len(meanwhile), meanwhile[len(meanwhile)/2], meanwhile[len(meanwhile)-1], quiet[len(quiet)/2], quiet[len(quiet)-1])
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

// makeAndDelete makes and deletes volumes, one after the other, and says how long each took to be made.
func makeAndDelete(t *testing.T, c agentv1.AgentClient, name string, volumes int) []time.Duration {
	t.Helper()
	took := make([]time.Duration, volumes)
	for i := range took {
		begin := time.Now()
		v := create(t, c, fmt.Sprintf("%s-%d", name, i), mib)
		took[i] = time.Since(begin).Round(time.Millisecond)
		if _, err := c.DeleteVolume(within(t, 30*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
			t.Fatal(err)
		}
	}
	return took
}

// TestLongRestartWithManyVolumes kills an agent that has 5,000 volumes below a client that writes. How long a start takes is what
// hack/bench measures; here nothing may fail, and the test says where the time goes.
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
		w := startWriter(t, filepath.Join(dir, end))
		w.awaitMore(t)
		if end == "killed" {
			a.Kill()
		} else {
			a.Stop(t)
		}
		begin := time.Now()
		a = h.Start(t, roomy)
		eventually(t, 10*time.Minute, "serving", func() bool { code, _ := a.Get("/readyz"); return code == 200 })
		awaitGraceOver(t, a, 0)
		w.awaitMore(t)
		t.Logf("%s: longest write %s; seconds from the start until\n%s", end, w.wantAllThere(t, end).Longest.Round(time.Millisecond), steps(t, a.Log(), begin))
	}
	list, err := c.ListVolumes(within(t, 60*time.Second), &agentv1.ListVolumesRequest{})
	if err != nil || len(list.GetVolumes()) != volumes+1 {
		t.Errorf("%d volumes, %v", len(list.GetVolumes()), err)
	}
}

// steps says when an agent's log shows each step of a start.
func steps(t *testing.T, log string, begin time.Time) string {
	t.Helper()
	var b strings.Builder
	for _, step := range []struct{ what, line string }{
		{"the records are read", "The records are read"},
		{"volumes and the file handle are checked", "The disk is ready to be served"},
		{"Ganesha runs", "Initializing nfs_init"},
		{"it has parsed its configuration", "Now IN GRACE"},
		{"it has made its exports", "CAP_SYS_RESOURCE was"},
		{"it has opened them, and listens", "NFS SERVER INITIALIZED"},
		{"it answers", `"Serving"`},
		{"grace is over", graceOver},
	} {
		at := strings.Index(log, step.line)
		if at < 0 {
			t.Errorf("the log has no %q", step.line)
			continue
		}
		_, text, _ := strings.Cut(log[strings.LastIndexByte(log[:at], '\n')+1:], `{"time":"`)
		text, _, _ = strings.Cut(text, `"`)
		reached, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			t.Errorf("when %q was logged: %v", step.line, err)
		}
		fmt.Fprintf(&b, "%6.1f %s\n", reached.Sub(begin).Seconds(), step.what)
		log = log[at:]
	}
	return b.String()
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
