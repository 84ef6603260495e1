//go:build e2e && long

package failure

import (
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Where the calls of these tests stage and publish: apart from the kubelet's own, which would tidy it up.
const callDir = "/var/lib/kubelet/plugins/" + names.Driver + "/test"

// caller is a pod that calls a node's CSI plugin as its kubelet does.
type caller struct {
	cluster
	pod string
}

// newCaller starts one on a node.
func (c cluster) newCaller(t *testing.T, node string) caller {
	t.Helper()
	pod := "caller-" + node
	dir := "/var/lib/kubelet/plugins/" + names.Driver
	c.apply(t, fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers:
  - name: workload
    image: %s
    imagePullPolicy: IfNotPresent
    args: [idle]
    securityContext: {privileged: true}
    volumeMounts: [{name: plugin, mountPath: %[4]s, mountPropagation: HostToContainer}]
  volumes:
  - name: plugin
    hostPath: {path: %[4]s}
`, pod, node, workloadImage(), dir))
	t.Cleanup(func() {
		ctx, cancel := contextOf(short)
		defer cancel()
		_, _ = c.Run(ctx, "delete", "pod/"+pod, "--ignore-not-found", "--wait=false")
	})
	c.running(t, pod)
	return caller{c, pod}
}

// answered is what the plugin said to one call.
type answered struct {
	RPC           string
	Seconds       float64
	Code, Message string
}

// calls makes the calls in their order.
func (c caller) calls(t *testing.T, handle, place string, rpcs ...string) []answered {
	t.Helper()
	return c.callsAt(t, handle, path.Join(callDir, place, "globalmount"), path.Join(callDir, place, "mount"), rpcs...)
}

// stats asks for the statistics of a volume where the kubelet has published it.
func (c caller) stats(t *testing.T, handle, target string) []answered {
	t.Helper()
	return c.callsAt(t, handle, "", target, "stats")
}

func (c caller) callsAt(t *testing.T, handle, staging, target string, rpcs ...string) (answers []answered) {
	t.Helper()
	var input strings.Builder
	for _, rpc := range rpcs {
		line, _ := json.Marshal(map[string]string{"rpc": rpc, "volume": handle, "staging": staging, "target": target})
		input.Write(line)
		input.WriteByte('\n')
	}
	out, err := c.RunInput(t.Context(), input.String(), "exec", "-i", c.pod, "--", "/workload", "csi", "/var/lib/kubelet/plugins/"+names.Driver+"/csi.sock")
	if err != nil {
		t.Errorf("calls %v of %s: %v", rpcs, handle, err)
	}
	for line := range strings.Lines(out) {
		var a answered
		if err := json.Unmarshal([]byte(line), &a); err != nil {
			t.Fatalf("answer %q: %v", line, err)
		}
		answers = append(answers, a)
	}
	return answers
}

// cycles takes a volume through its life on the node, n times, and returns the median time of a cycle in seconds.
func (c caller) cycles(t *testing.T, handle, place string, n int) float64 {
	t.Helper()
	var all []float64
	for range n {
		total := 0.0
		for _, a := range c.calls(t, handle, place, "stage", "publish", "stats", "unpublish", "unstage") {
			total += a.Seconds
			if a.Code != "OK" {
				t.Errorf("%s of %s: %s: %s", a.RPC, handle, a.Code, a.Message)
			}
		}
		all = append(all, total)
	}
	slices.Sort(all)
	return all[n/2]
}

// within fails when one of the answers took longer.
func within(t *testing.T, limit time.Duration, answers []answered) {
	t.Helper()
	for _, a := range answers {
		t.Logf("%s: %.1f s, %s %s", a.RPC, a.Seconds, a.Code, a.Message)
		if a.Seconds > limit.Seconds() {
			t.Errorf("%s took %.1f s, its deadline is %s", a.RPC, a.Seconds, limit)
		}
		if a.Code == "DeadlineExceeded" && a.Seconds > 119 {
			t.Errorf("%s was not answered at all", a.RPC)
		}
	}
}
