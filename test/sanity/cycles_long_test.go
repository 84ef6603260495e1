//go:build vm && long

package sanity

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"

	"github.com/nfs-operator/nfs-operator/csi/mount"
)

const cycles = 200

// TestMountCycles has some volumes come and go many times, several at once, and then wants this process to be as it was.
func TestMountCycles(t *testing.T) {
	m := newMachine(t)
	node, state, stop := m.startNode(t)
	defer stop()
	conn := connect(t, serve(t, m.controller(t), node))
	k := &kubelet{machine: m, controller: csi.NewControllerClient(conn), node: csi.NewNodeClient(conn)}
	pods := []pod{k.claimNamed(t, "a", mib, rwx), k.claimNamed(t, "b", mib, rwo), k.claimNamed(t, "c", mib, rox), k.claimNamed(t, "d", mib, rwx)}
	for _, p := range pods { // what is made once and kept: connections, the announcer's worker
		k.cycle(t, p)
	}
	within(t, time.Minute, "announced", func() bool { return len(k.nodesOf(t, pods[0])) == 0 })
	before := ofThisProcess(t)
	var workers sync.WaitGroup
	for _, p := range pods {
		workers.Go(func() {
			for range cycles / len(pods) {
				k.cycle(t, p)
			}
		})
	}
	workers.Wait()
	within(t, time.Minute, "nothing is left of it", func() bool {
		now := ofThisProcess(t)
		return len(state.Volumes()) == 0 && now.files <= before.files+2 && now.goroutines <= before.goroutines+2 && len(now.children) == 0
	})
	if now := ofThisProcess(t); t.Failed() {
		t.Logf("before %+v, now %+v", before, now)
	}
	if left := m.nfsMounts(t); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
}

func (k *kubelet) cycle(t *testing.T, p pod) {
	t.Helper()
	if err := k.stage(t, p); err != nil {
		t.Errorf("stage: %v", err)
		return
	}
	if _, err := k.node.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: p.handle, StagingTargetPath: p.staging, TargetPath: p.target, VolumeCapability: p.capability,
	}); err != nil {
		t.Errorf("publish: %v", err)
	}
	if _, err := k.node.NodeGetVolumeStats(t.Context(), &csi.NodeGetVolumeStatsRequest{VolumeId: p.handle, VolumePath: p.target}); err != nil {
		t.Errorf("stats: %v", err)
	}
	k.unpublish(t, p, p.target)
	k.unstage(t, p)
}

// process is what leaks in a process.
type process struct {
	goroutines, files int
	children          []string // also those that have ended and were not waited for
}

func ofThisProcess(t *testing.T) process {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	p := process{goroutines: runtime.NumGoroutine(), files: len(files)}
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		t.Fatal(err)
	}
	for _, task := range tasks {
		text, err := os.ReadFile(task)
		if err != nil {
			continue // the thread has ended
		}
		for pid := range strings.FieldsSeq(string(text)) {
			stat, err := os.ReadFile("/proc/" + pid + "/stat")
			// The agent under test is a child, too.
			if err == nil && (strings.Contains(string(stat), ") Z ") || strings.Contains(string(stat), "(exe)")) {
				p.children = append(p.children, string(stat))
			}
		}
	}
	return p
}

func (m *machine) nfsMounts(t *testing.T) []mount.Mount {
	t.Helper()
	mounts, err := m.mounter.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(mounts, func(o mount.Mount) bool { return !o.IsNFS() })
}

func (m *machine) mountAt(t *testing.T, target string) (mount.Mount, bool) {
	t.Helper()
	return mount.At(m.nfsMounts(t), target)
}

// within waits for something that has no event.
func within(t *testing.T, d time.Duration, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if condition() {
			return
		}
	}
	t.Fatalf("after %s still not: %s", d, what)
}
