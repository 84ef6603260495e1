//go:build vm && bench

package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

// callsARun is how many creates and deletes one run times, one after the other.
const callsARun = 200

func TestVolumes(t *testing.T) {
	h, a := serving(t)
	c := h.Controller(t)
	present := 0
	for _, step := range []struct {
		volumes int
		suffix  string // of the keys; the design's are those with 5,000
	}{{0, "_0"}, {1000, "_1000"}, {5000, ""}} {
		begin := time.Now()
		fill(t, c, present, step.volumes)
		present = step.volumes
		t.Logf("%d volumes are there after %s", present, time.Since(begin).Round(time.Second))
		timeCalls(t, h, c, step.volumes, step.suffix)
	}
	timeManyCallers(t, c)
	timeRestarts(t, h, a)
	timeReassertion(t, h)
}

// timeCalls also makes a directory before each call: the disk's share of the time, for a create waits for it five times and a delete
// three times (docs/decisions/0015).
func timeCalls(t *testing.T, h *host.Host, c agentv1.AgentClient, present int, suffix string) {
	t.Helper()
	var p50, p99, deleted, waited []float64
	for run := range runs {
		creates, deletes, waits := make([]float64, callsARun), make([]float64, callsARun), make([]float64, callsARun)
		dir := filepath.Join(h.DataDir(), "disk-wait")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		ids := make([]string, callsARun)
		for i := range callsARun {
			begin := time.Now()
			if err := os.Mkdir(filepath.Join(dir, strconv.Itoa(i)), 0o700); err != nil {
				t.Fatal(err)
			}
			waits[i] = milliseconds(time.Since(begin))
			begin = time.Now()
			v, err := create(t.Context(), c, fmt.Sprintf("pvc-timed-%d-%d-%d", present, run, i))
			creates[i] = milliseconds(time.Since(begin))
			if err != nil {
				t.Fatal(err)
			}
			ids[i] = v.GetId()
		}
		for i, id := range ids {
			begin := time.Now()
			if _, err := c.DeleteVolume(t.Context(), &agentv1.DeleteVolumeRequest{Id: id}); err != nil {
				t.Fatal(err)
			}
			deletes[i] = milliseconds(time.Since(begin))
		}
		p50 = append(p50, bench.Percentile(creates, 50))
		p99 = append(p99, bench.Percentile(creates, 99))
		deleted = append(deleted, bench.Percentile(deletes, 99))
		waited = append(waited, bench.Percentile(waits, 50))
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	how := fmt.Sprintf("%d calls one after the other, over mutual TLS, in a virtual machine (XFS on a file, wsync), %d volumes present", callsARun, present)
	bench.Record(t, "create_volume_p50_ms"+suffix, how, p50...)
	bench.Record(t, "create_volume_p99_ms"+suffix, how, p99...)
	bench.Record(t, "delete_volume_p99_ms"+suffix, how, deleted...)
	bench.Record(t, "disk_wait_ms"+suffix, how+"; mkdir between the calls", waited...)
}

func timeManyCallers(t *testing.T, c agentv1.AgentClient) {
	t.Helper()
	var rates []float64
	for run := range runs {
		ids := make([]string, callsARun)
		begin := time.Now()
		parallel(t, callsARun, callers, func(ctx context.Context, i int) error {
			v, err := create(ctx, c, fmt.Sprintf("pvc-many-%d-%d", run, i))
			ids[i] = v.GetId()
			return err
		})
		rates = append(rates, callsARun/time.Since(begin).Seconds())
		parallel(t, callsARun, callers, func(ctx context.Context, i int) error { return remove(ctx, c, ids[i]) })
	}
	bench.Record(t, "create_volumes_per_s", fmt.Sprintf("%d calls by %d callers in a virtual machine, 5,000 volumes present", callsARun, callers), rates...)
}

func timeRestarts(t *testing.T, h *host.Host, a *host.Agent) {
	t.Helper()
	var seconds, memory []float64
	for range runs {
		a.Kill()
		begin := time.Now()
		a = h.Start(t, roomy(h))
		a.WaitServing(t)
		seconds = append(seconds, time.Since(begin).Seconds())
		memory = append(memory, residentMiB(t))
	}
	bench.Record(t, "restart_serving_s", "agent killed with SIGKILL and started, until /readyz, 5,000 volumes, in a virtual machine", seconds...)
	bench.Record(t, "server_rss_mib_5000", "VmRSS of agent and ganesha.nfsd after a start with 5,000 volumes", memory...)
}
