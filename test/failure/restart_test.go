//go:build e2e && long

package failure

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/bench"
)

func contextOf(limit time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), limit)
}

func TestMain(m *testing.M) {
	code := m.Run()
	printTable()
	os.Exit(code)
}

// made are the kinds of operations that need a name: new opens, which wait for grace.
var made = []string{"open", "rename", "mkdir"}

// rounds is how often an event is repeated; FAILURE_ROUNDS is another number.
func rounds() int {
	if n, err := strconv.Atoi(os.Getenv("FAILURE_ROUNDS")); err == nil && n > 0 {
		return n
	}
	return bench.MinRuns
}

// killInPod kills the process of a pod's container whose command line begins so. Process 1 of a container cannot be
// killed from inside it.
func (s server) killInPod(t *testing.T, command string) {
	t.Helper()
	uid := strings.ReplaceAll(s.field(t, "{.metadata.uid}"), "-", "[-_]")
	// The kill comes last: the search takes seconds of the node's only processor, which are not to count as the server's.
	s.cluster.node(t, "exec", s.node(t), "--", "sh", "-c", fmt.Sprintf(`for p in /proc/[0-9]*; do
if grep -q 'pod%s' $p/cgroup 2>/dev/null && tr '\0' ' ' < $p/cmdline | grep -q '^%s'; then found="$found ${p#/proc/}"; fi
done; kill -9 $found`, uid, command))
}

// TestProcessKilled: Ganesha alone, and the agent, with which the container ends.
func TestProcessKilled(t *testing.T) {
	s := setUp(t).newBackend(t, "moving", "shared-block", "")
	p := newPatient(t, s, "killed")
	var writes, opens []float64
	for range rounds() {
		r := p.survive(t, func() { s.killInPod(t, "ganesha.nfsd"); s.serving(t, "") })
		note("kill -9 of Ganesha", r, "")
		writes, opens = append(writes, r.longest("write")), append(opens, r.longest(made...))
	}
	bench.Record(t, "gap_process_s", "Ganesha killed under a writer with fsync on another node", writes...)
	bench.Record(t, "gap_open_s", "the same, for new files, renames and directories", opens...)
	restarts := s.field(t, "{.status.containerStatuses[0].restartCount}")
	r := p.survive(t, func() {
		s.killInPod(t, "/nfs-operator agent")
		await(t, short, "the container is started again", func() error {
			if now := s.field(t, "{.status.containerStatuses[0].restartCount}"); now == restarts {
				return fmt.Errorf("restartCount is still %s", now)
			}
			return nil
		})
		s.serving(t, "")
	})
	note("kill -9 of the agent", r, "")
}

func TestServerPodDeleted(t *testing.T) {
	s := setUp(t).newBackend(t, "moving", "shared-block", "")
	p := newPatient(t, s, "deleted")
	var writes []float64
	for i := range rounds() {
		uid := s.field(t, "{.metadata.uid}")
		var begin time.Time
		r := p.survive(t, func() {
			begin = time.Now()
			s.must(t, s.system("delete", "pod", s.pod(), "--wait=false")...)
			s.serving(t, uid)
		})
		t.Logf("deleted at %s, then created, scheduled, container started, Ready: %s", begin.UTC().Format("15:04:05.000"), s.field(t,
			`{.metadata.creationTimestamp} {.status.conditions[?(@.type=="PodScheduled")].lastTransitionTime} {.status.containerStatuses[0].state.running.startedAt} {.status.conditions[?(@.type=="Ready")].lastTransitionTime}`))
		t.Log(s.must(t, s.system("logs", s.pod(), "--timestamps")...))
		note(fmt.Sprintf("server pod deleted (%d)", i+1), r, "")
		writes = append(writes, r.longest("write"))
	}
	bench.Record(t, "gap_pod_s", "server pod deleted under a writer with fsync on another node", writes...)
}

// TestServerNodeLosesPower: the node comes back, and the server with it.
func TestServerNodeLosesPower(t *testing.T) {
	s := setUp(t).newBackend(t, "moving", "shared-block", "")
	p := newPatient(t, s, "power")
	node := s.node(t)
	var ready time.Time
	r := p.survive(t, func() {
		s.cluster.node(t, "stop", node)
		s.cluster.node(t, "start", node) // returns when the kubelet is Ready
		ready = time.Now()
		s.serving(t, "")
		p.running(t, p.contender)
	})
	// The writer's longest wait began before the power cut; what counts is how long it went on after the node was Ready.
	after := r.waitAfter("write", ready)
	bench.Record(t, "gap_node_s", "the server's node without power, then switched on again", after)
	note("power-off and return of the server's node", r, fmt.Sprintf("%.1f s after its kubelet was Ready", after))
}

// waitAfter is how long after a moment the longest wait that includes it ended, in seconds.
func (r report) waitAfter(kind string, moment time.Time) float64 {
	for _, g := range r.Kinds[kind].Gaps {
		if end := g.Begin.Add(time.Duration(g.Seconds * float64(time.Second))); g.Begin.Before(moment) && end.After(moment) {
			return end.Sub(moment).Seconds()
		}
	}
	return 0
}

// TestServerMoves: the server's node is gone for good, and its disk serves on another node, which has another number for
// it; the server sees its clients under other addresses.
func TestServerMoves(t *testing.T) {
	s := setUp(t).newBackend(t, "moving", "shared-block", "")
	p := newPatient(t, s, "moved")
	from := s.node(t)
	uid := s.field(t, "{.metadata.uid}")
	t.Cleanup(func() {
		_, _ = s.Run(context.Background(), "taint", "node", from, "node.kubernetes.io/out-of-service-")
	})
	var declared time.Time
	r := p.survive(t, func() {
		s.cluster.node(t, "stop", from)
		await(t, long, "the node is seen to be gone", func() error {
			if s.nodeReady(t, from) {
				return fmt.Errorf("%s is Ready", from)
			}
			return nil
		})
		// As docs/failover.md says: the power is off, so that nothing there can write any more.
		declared = time.Now()
		s.must(t, "taint", "node", from, "node.kubernetes.io/out-of-service=poweroff:NoExecute")
		await(t, long, "the old pod is gone", func() error {
			out, err := s.Run(t.Context(), s.system("get", "pod", s.pod(), "-o", "jsonpath={.metadata.uid} {.spec.nodeName}")...)
			if err == nil && strings.HasPrefix(out, uid) {
				err = fmt.Errorf("pod and node are %q", out)
			}
			return err
		})
		s.serving(t, uid)
		if to := s.node(t); to == from {
			t.Errorf("the server is still on %s", to)
		}
		p.progress(t, p.writer, 10, "write", "mkdir")
		s.cluster.node(t, "start", from)
		s.must(t, "taint", "node", from, "node.kubernetes.io/out-of-service-")
		// The contender tolerates everything, and so it was there all the time.
		await(t, long, "the contender runs", func() error {
			out, err := s.Run(t.Context(), "get", "pod", p.contender, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`)
			if err == nil && out != "True" {
				err = fmt.Errorf("Ready is %q", out)
			}
			if err != nil && strings.Contains(err.Error(), "NotFound") {
				s.apply(t, workloadPod(p.contender, p.name, from, "contend", "/data"))
			}
			return err
		})
	})
	note("server moved to another node", r, fmt.Sprintf("%.1f s after the node was declared out of service", r.waitAfter("write", declared)))
}
