//go:build e2e && long

package failure

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	// What the plugin promises: each of its answers comes well before the kubelet's two minutes end. The kubelet asks for
	// statistics of all volumes one after the other, so these have to be quick.
	callDeadline  = 90 * time.Second
	statsDeadline = 15 * time.Second
	// slower is how much longer a volume of a healthy server may take while another server is gone. A real wait would be
	// for a time-out of seconds, many times the 0.5 s of a cycle.
	slower = 3
)

// ward is a node with volumes of two servers, of which one goes away.
type ward struct {
	cluster
	dead, alive server
	node        string // where the pods are; neither failing server is there
	calls       caller
	handles     map[string]string // by claim
}

func newWard(t *testing.T) ward {
	t.Helper()
	c := setUp(t)
	w := ward{cluster: c, dead: c.newBackend(t, "moving", "shared-block", ""), handles: map[string]string{}}
	w.node = c.otherNode(t, w.dead.node(t))
	w.alive = c.newBackend(t, "steady-"+w.node, "local-block", w.node)
	for claim, s := range map[string]server{"hang-staged": w.dead, "hang-doomed": w.dead, "hang-unwritten": w.dead, "hang-new": w.dead, "hang-alive": w.alive} {
		c.claim(t, claim, s)
		volume := c.must(t, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}")
		w.handles[claim] = c.must(t, "get", "pv", volume, "-o", "jsonpath={.spec.csi.volumeHandle}")
	}
	t.Cleanup(func() {
		ctx, cancel := contextOf(long)
		defer cancel()
		_, _ = c.Run(ctx, "delete", "pod/hang-staged", "pod/hang-doomed", "pod/hang-unwritten", "pod/hang-new", "--ignore-not-found", "--timeout=120s")
		_, _ = c.Run(ctx, "delete", "pvc/hang-staged", "pvc/hang-doomed", "pvc/hang-unwritten", "pvc/hang-new", "pvc/hang-alive", "--ignore-not-found", "--timeout=120s")
	})
	w.calls = c.newCaller(t, w.node)
	c.apply(t, workloadPod("hang-staged", "hang-staged", w.node, "run", "/data"))
	c.running(t, "hang-staged")
	return w
}

// publishedAt is where the kubelet has the volume of a pod of the same name as its claim.
func (c cluster) publishedAt(t *testing.T, pod string) string {
	t.Helper()
	uid := c.must(t, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}")
	volume := c.must(t, "get", "pvc", pod, "-o", "jsonpath={.spec.volumeName}")
	return "/var/lib/kubelet/pods/" + uid + "/volumes/kubernetes.io~csi/" + volume + "/mount"
}

// nfsMounts lists where the node has volumes of a server.
func (c cluster) nfsMounts(t *testing.T, node, address string) []string {
	t.Helper()
	out := c.node(t, "exec", node, "--", "sh", "-c", "awk '$3 ~ /^nfs/ {print $1, $2}' /proc/mounts")
	var found []string
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, address+":") {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
}

func (s server) address(t *testing.T) string {
	t.Helper()
	return s.must(t, s.system("get", "service", names.Shard(s.backend, 0), "-o", "jsonpath={.spec.clusterIP}")...)
}

// TestNodeNeverHangs takes the server away in three ways while its volumes are in use.
func TestNodeNeverHangs(t *testing.T) {
	w := newWard(t)
	manager := func(replicas string) {
		w.must(t, "-n", names.DefaultNamespace, "scale", "deployment/nfs-operator-manager", "--replicas="+replicas)
	}
	address := w.dead.address(t)
	rule := []string{"-d", address, "-j", "DROP"}
	for _, way := range []struct {
		name       string
		away, back func()
	}{{
		name: "pod stopped",
		away: func() {
			manager("0")
			w.must(t, "-n", names.DefaultNamespace, "wait", "--for=delete", "pod", "-l", "app.kubernetes.io/component=manager", "--timeout=120s")
			w.must(t, w.dead.system("scale", "statefulset/"+names.Shard(w.dead.backend, 0), "--replicas=0")...)
			w.must(t, w.dead.system("wait", "--for=delete", "pod/"+w.dead.pod(), "--timeout=180s")...)
		},
		back: func() { manager("2") }, // the operator itself puts the server back
	}, {
		name: "address black-holed",
		away: func() {
			w.cluster.node(t, "exec", w.node, append([]string{"--", "iptables", "-t", "raw", "-I", "OUTPUT"}, rule...)...)
		},
		back: func() {
			w.cluster.node(t, "exec", w.node, append([]string{"--", "iptables", "-t", "raw", "-D", "OUTPUT"}, rule...)...)
		},
	}, {
		name: "network of the server's node cut",
		away: func() { w.cluster.node(t, "disconnect", w.dead.node(t)) },
		back: func() { w.cluster.node(t, "connect", w.dead.node(t)) },
	}} {
		ok := t.Run(way.name, func(t *testing.T) {
			w.withoutServer(t, way.away, way.back)
		})
		if !ok {
			t.Fatal("the ways after this one need the cluster in order")
		}
	}
}

// withoutServer is one way in which the server goes away and comes back.
func (w ward) withoutServer(t *testing.T, away, back func()) {
	t.Helper()
	w.apply(t, workloadPod("hang-doomed", "hang-doomed", w.node, "read", "/data"))
	w.apply(t, workloadPod("hang-unwritten", "hang-unwritten", w.node, "run", "/data"))
	w.running(t, "hang-doomed")
	w.running(t, "hang-unwritten")
	w.progress(t, "hang-doomed", 10, "read")
	w.progress(t, "hang-unwritten", 10, "write")
	w.progress(t, "hang-staged", 10, "write")
	staged := w.publishedAt(t, "hang-staged")
	before := w.calls.cycles(t, w.handles["hang-alive"], "alive", 5)
	watch := w.watchKubelet(t)
	backDone := false
	defer func() {
		if !backDone {
			back()
		}
	}()
	away()

	during := make(chan float64, 1)
	go func() { during <- w.calls.cycles(t, w.handles["hang-alive"], "alive", 5) }()
	stats := w.calls.stats(t, w.handles["hang-staged"], staged)
	within(t, statsDeadline, stats)
	for _, a := range stats {
		if a.Code == "NotFound" {
			t.Errorf("the plugin does not know the kubelet's mount: %s", a.Message)
		}
	}
	answers := w.calls.calls(t, w.handles["hang-new"], "new", "stage", "publish", "unpublish", "unstage")
	within(t, callDeadline, answers)
	// Any other code tells the kubelet that no mount can exist, and it looks at the path, which may hang.
	if code := answers[0].Code; !slices.Contains([]string{"Unavailable", "Aborted", "DeadlineExceeded", "ResourceExhausted"}, code) {
		t.Errorf("stage from a server that is gone: %s", code)
	}
	if d := <-during; d > slower*before {
		t.Errorf("a volume of another server took %.2f s to be staged, published and taken away, %.2f s before", d, before)
	} else {
		t.Logf("a volume of another server: %.2f s before, %.2f s while the server was gone", before, d)
	}

	begin := time.Now()
	w.must(t, "delete", "pod/hang-doomed", "--timeout=180s")
	t.Logf("a pod on the dead server was deleted in %.0f s", time.Since(begin).Seconds())
	// The kernel ends no process that waits for its writes to reach the server: this pod is gone when the server is back.
	w.must(t, "delete", "pod/hang-unwritten", "--wait=false")
	w.apply(t, workloadPod("hang-new", "hang-new", w.node, "run", "/data"))
	await(t, long, "the new pod waits, and says why", func() error {
		out, err := w.Run(t.Context(), "get", "events", "--field-selector", "involvedObject.name=hang-new,reason=FailedMount", "-o", "jsonpath={.items[*].message}")
		if err == nil && out == "" {
			err = fmt.Errorf("no event yet")
		}
		return err
	})
	back()
	backDone = true
	w.dead.serving(t, "")
	w.must(t, "wait", "--for=delete", "--timeout=180s", "pod/hang-unwritten")
	w.running(t, "hang-new")
	w.progress(t, "hang-staged", 10, "write", "mkdir")
	w.progress(t, "hang-new", 10, "write", "mkdir")
	if lost := watch(); lost != "" {
		t.Errorf("kubelet of %s: %s", w.node, lost)
	}
	w.must(t, "delete", "pod/hang-new", "--timeout=120s")
	w.clean(t, 2) // hang-staged: staged and published
}

// watchKubelet asks again and again whether the kubelet is Ready, until the function that it returns is called.
func (w ward) watchKubelet(t *testing.T) (stop func() string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	answer := make(chan string, 1)
	go func() {
		found := ""
		for ctx.Err() == nil {
			out, err := w.Run(ctx, "get", "node", w.node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")]}`)
			if err == nil && !strings.Contains(out, `"status":"True"`) {
				found = out
			}
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
		}
		answer <- found
	}()
	return func() string { cancel(); return <-answer }
}

// clean waits until the node has exactly n mounts of the dead server, and no helper of a mount that hangs.
func (w ward) clean(t *testing.T, n int) {
	t.Helper()
	address := w.dead.address(t)
	await(t, short, fmt.Sprintf("%d mounts of %s are left", n, address), func() error {
		mounts := w.nfsMounts(t, w.node, address)
		if len(mounts) != n {
			return fmt.Errorf("there are %q", mounts)
		}
		out := w.cluster.node(t, "exec", w.node, "--", "sh", "-c", `for s in /proc/[0-9]*/stat; do read -r line < $s && case "$line" in *nfs-operator*\)\ [DZ]\ *|*mount*\)\ [DZ]\ *) echo "$line";; esac; done 2>/dev/null; true`)
		if out != "" {
			return fmt.Errorf("processes hang: %s", out)
		}
		return nil
	})
}
