//go:build vm && bench

package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const (
	listRuns      = 5
	opensARun     = 10
	operationsRun = 200
	burstNodes    = 16
	burstOpens    = 10 // each
)

// lists are how many clients a volume has in its list; the machine's own address is the last.
var lists = []int{1, 1000, 3000, 5000}

// TestClientLists measures what the length of a volume's list of clients costs: opening it on one more node, opening another volume
// meanwhile, and the small operations of one client.
func TestClientLists(t *testing.T) {
	h, a := serving(t)
	c := h.Controller(t)
	ids := map[int]string{}
	for _, n := range lists {
		v, err := c.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: fmt.Sprintf("pvc-list-%d", n), Spec: &agentv1.VolumeSpec{Bytes: 64 * mib, Mode: 0o777}})
		if err != nil {
			t.Fatal(err)
		}
		ids[n] = v.GetId()
	}
	other, err := create(t.Context(), c, "pvc-other")
	if err != nil {
		t.Fatal(err)
	}
	h.WriteNodes(t, slices.Max(lists), func(node int) (opened []string) {
		for _, n := range lists {
			if node < n-1 {
				opened = append(opened, ids[n])
			}
		}
		return opened
	})
	a.Kill()
	begin := time.Now()
	a = h.Start(t, roomy(h))
	a.WaitServing(t)
	t.Logf("serving again after %s", time.Since(begin))
	timeOperations(t, h, ids)
	timeOpens(t, h, ids)
	timeOpensBesideABurst(t, h, ids[slices.Max(lists)], other.GetId())
}

// opener is a node that opens volumes from a new address each time, so that their lists change.
type opener struct {
	agentv1.AgentClient
	next int
}

func (o *opener) open(ctx context.Context, id string) (took time.Duration, err error) {
	o.next++
	begin := time.Now()
	_, err = o.OpenAccess(ctx, &agentv1.OpenAccessRequest{
		Client: &agentv1.Client{BootId: "boot", Addresses: []string{fmt.Sprintf("10.2.%d.%d", o.next>>8, o.next&0xff)}},
		Grant:  &agentv1.Grant{VolumeId: id, Generation: 1},
	})
	return time.Since(begin), err
}

func timeOpens(t *testing.T, h *host.Host, ids map[int]string) {
	t.Helper()
	openers := map[int]*opener{}
	for i, n := range lists {
		openers[n] = &opener{h.Node(t, fmt.Sprintf("opener-%d", n)), 1000 * i}
		if _, err := openers[n].open(t.Context(), ids[n]); err != nil { // connects
			t.Fatal(err)
		}
	}
	took := map[int][]float64{}
	for range listRuns {
		for _, n := range lists {
			run := make([]float64, opensARun)
			for i := range run {
				d, err := openers[n].open(t.Context(), ids[n])
				if err != nil {
					t.Fatal(err)
				}
				run[i] = milliseconds(d)
			}
			took[n] = append(took[n], bench.Percentile(run, 50))
		}
	}
	for _, n := range lists {
		bench.Record(t, fmt.Sprintf("open_access_ms_%d", n), fmt.Sprintf("median of %d calls, one after the other, from a new address each; lists of all lengths in turns", opensARun), took[n]...)
	}
}

// timeOpensBesideABurst opens a volume with one client while 16 nodes open another that has 5,000, as when a Deployment is rolled out.
func timeOpensBesideABurst(t *testing.T, h *host.Host, long, other string) {
	t.Helper()
	burst := make([]*opener, burstNodes)
	for i := range burst {
		burst[i] = &opener{h.Node(t, fmt.Sprintf("burst-%d", i)), 10_000 + 100*i}
	}
	beside := &opener{h.Node(t, "beside"), 20_000}
	var quiet, held, each []float64
	for range runs {
		alone := make([]float64, opensARun)
		for i := range alone {
			d, err := beside.open(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			alone[i] = milliseconds(d)
		}
		quiet = append(quiet, bench.Percentile(alone, 50))
		ended := make(chan struct{})
		begin := time.Now()
		go func() {
			defer close(ended)
			parallel(t, burstNodes, burstNodes, func(ctx context.Context, i int) error {
				for range burstOpens {
					if _, err := burst[i].open(ctx, long); err != nil {
						return err
					}
				}
				return nil
			})
		}()
		var meanwhile []float64
		for running := true; running; {
			d, err := beside.open(t.Context(), other)
			if err != nil {
				t.Fatal(err)
			}
			meanwhile = append(meanwhile, milliseconds(d))
			select {
			case <-ended:
				running = false
			default:
			}
		}
		each = append(each, milliseconds(time.Since(begin))/(burstNodes*burstOpens))
		held = append(held, bench.Percentile(meanwhile, 50))
		t.Logf("beside the burst: %d opens, the longest %.0f ms", len(meanwhile), slices.Max(meanwhile))
	}
	how := fmt.Sprintf("%d nodes open a volume with 5,000 clients %d times each, from a new address each time", burstNodes, burstOpens)
	bench.Record(t, "open_access_burst_ms", how, each...)
	bench.Record(t, "open_access_other_ms", how+"; median of the opens of another volume before", quiet...)
	bench.Record(t, "open_access_other_burst_ms", how+"; median of the opens of another volume meanwhile", held...)
}

// small4k are operations of which each goes to the server.
var small4k = []struct {
	key string
	do  func(f *os.File) error
}{
	{"stat", func(f *os.File) error {
		var st unix.Statx_t
		return unix.Statx(int(f.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_ALL, &st)
	}},
	{"read", func(f *os.File) error { _, err := f.ReadAt(make([]byte, block), listPlace()); return err }},
	{"write", func(f *os.File) error { _, err := f.WriteAt(make([]byte, block), listPlace()); return err }},
}

const listFileBlocks = 1024

func listPlace() int64 { return rand.Int64N(listFileBlocks) * block }

func timeOperations(t *testing.T, h *host.Host, ids map[int]string) {
	t.Helper()
	node := h.Node(t, "node-1")
	files := map[int]*os.File{}
	for _, n := range lists {
		access, err := node.OpenAccess(t.Context(), &agentv1.OpenAccessRequest{Client: &agentv1.Client{BootId: "boot"}, Grant: &agentv1.Grant{VolumeId: ids[n], Generation: 1}})
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(h.Mount(t, access), "file")
		if err := os.WriteFile(name, make([]byte, listFileBlocks*block), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		files[n] = f
	}
	took := map[string][]float64{}
	for range listRuns {
		processor := map[int]time.Duration{}
		for _, op := range small4k {
			for _, n := range lists {
				begin, before := time.Now(), host.GaneshaCPU(t)
				for range operationsRun {
					if err := op.do(files[n]); err != nil {
						t.Fatal(err)
					}
				}
				key := fmt.Sprintf("client_list_%s_us_%d", op.key, n)
				took[key] = append(took[key], float64(time.Since(begin).Microseconds())/operationsRun)
				processor[n] += host.GaneshaCPU(t) - before
			}
		}
		for _, n := range lists {
			key := fmt.Sprintf("client_list_cpu_us_%d", n)
			took[key] = append(took[key], float64(processor[n].Microseconds())/float64(operationsRun*len(small4k)))
		}
	}
	for _, n := range lists {
		key := fmt.Sprintf("client_list_cpu_us_%d", n)
		bench.Record(t, key, "CPU time of ganesha.nfsd (user and system) for each of these operations", took[key]...)
	}
	for _, op := range small4k {
		for _, n := range lists {
			key := fmt.Sprintf("client_list_%s_us_%d", op.key, n)
			bench.Record(t, key, fmt.Sprintf("%d operations one after the other, each asks the server (O_DIRECT); lists of all lengths in turns", operationsRun), took[key]...)
		}
	}
}
