//go:build vm && long

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestADiskWhoseFilesystemShutsDown: XFS shuts down when its log cannot be written, and stays so though the disk is back. Clients wait until
// it is mounted anew, and lose nothing.
func TestADiskWhoseFilesystemShutsDown(t *testing.T) {
	h, a := serving(t)
	v := create(t, h.Controller(t), "pvc-down", 64*mib)
	w := startWriter(t, filepath.Join(h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId())), "written"))
	w.awaitMore(t)
	resume := w.pause(t) // what is in flight at the very moment can get an error
	ganesha := host.Processes(ganeshaProgram)
	begin := time.Now()
	shutDown(t, h.DataDir())
	awaitGone(t, ganesha)
	t.Logf("Ganesha was killed %s after the shutdown", time.Since(begin).Round(time.Millisecond))
	resume()
	a.WaitServing(t)
	t.Logf("served again after %s", time.Since(begin).Round(time.Millisecond))
	w.awaitMore(t)
	t.Logf("longest write %s", w.wantAllThere(t, "shut down").Longest)
	if log := a.Log(); strings.Count(log, "the file system has shut down") != 1 || !strings.Contains(log, "DiskFailed") {
		t.Errorf("the agent says not once why: %s", log)
	}
	create(t, h.Controller(t), "pvc-after", mib)
}

// TestWhatWritersSeeOfAShutdown measures what cannot be avoided: a request in flight can be answered with an error before Ganesha is
// killed. Whatever a writer was told is safe is there even so.
func TestWhatWritersSeeOfAShutdown(t *testing.T) {
	const rounds, writers = 5, 4
	h, a := serving(t)
	v := create(t, h.Controller(t), "pvc-down", 64*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	failed := 0
	for round := range rounds {
		var all []*writer
		for i := range writers {
			all = append(all, startWriter(t, filepath.Join(dir, fmt.Sprintf("written-%d-%d", round, i))))
			all[i].awaitMore(t)
		}
		ganesha := host.Processes(ganeshaProgram)
		begin := time.Now()
		shutDown(t, h.DataDir())
		awaitGone(t, ganesha)
		killed := time.Since(begin)
		a.WaitServing(t)
		for _, w := range all {
			got := w.finish(t)
			if got.Error != "" {
				failed++
			}
			text, err := os.ReadFile(w.path)
			if err != nil || int64(len(text)) < got.Written || strings.Trim(string(text[:got.Written]), "0123456789abcde\n") != "" {
				t.Errorf("%s: %+v, and the file has %d bytes, %v", w.path, got, len(text), err)
			}
			t.Logf("round %d: Ganesha was killed after %s; %+v", round, killed.Round(time.Millisecond), got)
		}
	}
	t.Logf("%d of %d writers got an error", failed, rounds*writers)
}

// TestAKubeletsMountThatShutsDown: the agent cannot mount it anew, says so, and lets clients wait.
func TestAKubeletsMountThatShutsDown(t *testing.T) {
	h := host.New(t)
	h.HideDevices(t)
	for _, test := range []struct {
		name     string
		make     []string
		options  string
		shutDown func(*testing.T, string)
		remount  bool // helps, and no new pod is needed
	}{
		{"xfs", []string{"mkfs.xfs", "-q", "-f", "-K"}, allOptions, shutDown, false},
		{"ext4", []string{"mkfs.ext4", "-q", "-F"}, "", shutDown, false},
		{"ext4", []string{"mkfs.ext4", "-q", "-F"}, "", remountReadOnly, true},
	} {
		host.Make(t, host.DiskSmall, test.make...)
		h.MountData(t, host.DiskSmall, test.name, test.options)
		if test.name == "xfs" {
			if err := os.Chmod(h.DataDir(), 0o700); err != nil {
				t.Fatal(err)
			}
		}
		a := h.Start(t, h.Mounted(""))
		a.WaitServing(t)
		ganesha := host.Processes(ganeshaProgram)
		id := statusOf(t, h).GetServerId()
		test.shutDown(t, h.DataDir())
		awaitGone(t, ganesha)
		wantReason(t, a, "FilesystemFailed", "new pod")
		if got := host.Processes(ganeshaProgram); len(got) > 0 {
			t.Errorf("%s: processes of Ganesha: %v", test.name, got)
		}
		if test.remount {
			if err := unix.Mount("", h.DataDir(), "", unix.MS_REMOUNT, ""); err != nil {
				t.Fatal(err)
			}
		} else {
			a.Stop(t)
			h.UnmountData(t) // nothing of it is in use
			h.MountData(t, host.DiskSmall, test.name, test.options)
			a = h.Start(t, h.Mounted(id))
		}
		a.WaitServing(t)
		a.Stop(t)
		h.UnmountData(t)
	}
}

func awaitGone(t *testing.T, ganesha []int) {
	t.Helper()
	if len(ganesha) != 1 {
		t.Fatalf("processes of Ganesha: %v", ganesha)
	}
	for end := time.Now().Add(10 * time.Second); slices.Contains(host.Processes(ganeshaProgram), ganesha[0]); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("Ganesha goes on serving a file system that has shut down")
		}
	}
}

// pause stops the writer when it waits for nothing.
func (w *writer) pause(t *testing.T) (resume func()) {
	t.Helper()
	signal := func(s syscall.Signal) {
		if err := w.cmd.Process.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	signal(syscall.SIGSTOP)
	eventually(t, time.Minute, "every thread of the writer is stopped", func() bool {
		files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", w.cmd.Process.Pid))
		return len(files) > 0 && !slices.ContainsFunc(files, func(file string) bool {
			stat, err := os.ReadFile(file)
			return err != nil || !strings.Contains(string(stat), ") T ")
		})
	})
	return func() { signal(syscall.SIGCONT) }
}
