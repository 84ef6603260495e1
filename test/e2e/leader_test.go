//go:build e2e && long

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// provisionerLease is what the replicas of csi-provisioner compete for.
const provisionerLease = "lease/csi-nfs-operator-io"

// TestLeaderKilledAmidCreations kills the leading replica of the CSI controller, without notice, in the middle of 100
// creations: nothing is lost, and nothing is made twice.
func TestLeaderKilledAmidCreations(t *testing.T) {
	const claims = 100
	e := newEnv(t)
	var manifest strings.Builder
	for i := range claims {
		text, err := json.Marshal(newClaim(fmt.Sprintf("claim-%d", i), ofSize("4Mi")))
		if err != nil {
			t.Fatal(err)
		}
		manifest.WriteString("---\n" + string(text) + "\n")
	}
	created := make(chan error, 1)
	go func() {
		_, err := e.RunInput(t.Context(), manifest.String(), "apply", "--server-side", "-f", "-")
		created <- err
	}()
	boundNow := func(got string) int { return strings.Count(got, "Bound") }
	phases := []string{"get", "pvc", "-o", "jsonpath={.items[*].status.phase}"}
	e.await("some claims are bound", func(got string) bool { return boundNow(got) >= claims/10 }, phases...)
	holder := e.do("-n", systemNamespace, "get", provisionerLease, "-o", "jsonpath={.spec.holderIdentity}")
	var leader string
	for _, pod := range strings.Fields(e.do("-n", systemNamespace, "get", "pods", "-o", "jsonpath={.items[*].metadata.name}")) {
		if strings.HasPrefix(pod, "csi-controller-") && strings.Contains(holder, pod) {
			leader = pod
		}
	}
	if leader == "" {
		t.Fatalf("no pod is %q", holder)
	}
	bound := boundNow(e.do(phases...))
	e.do("-n", systemNamespace, "delete", "pod", leader, "--grace-period=0", "--force")
	if bound == claims {
		t.Error("all claims were bound before the leader was killed: it was not in the middle")
	}
	t.Logf("%s is killed with %d of %d claims bound", leader, bound, claims)
	if err := <-created; err != nil {
		t.Fatal(err)
	}
	e.await("all claims are bound", func(got string) bool { return boundNow(got) == claims }, phases...)

	handles := strings.Fields(e.do("get", "pv", "-o",
		fmt.Sprintf(`jsonpath={range .items[?(@.spec.claimRef.namespace==%q)]}{.spec.csi.volumeHandle}{"\n"}{end}`, e.Namespace)))
	slices.Sort(handles)
	if len(handles) != claims || len(slices.Compact(slices.Clone(handles))) != claims {
		t.Errorf("%d PersistentVolumes with %d handles, want %d", len(handles), len(slices.Compact(handles)), claims)
	}
	if got := e.records(); got != claims {
		t.Errorf("the server has %d volumes of these claims, want %d", got, claims)
	}
	e.do("delete", "pvc", "--all", "--timeout=300s")
	e.await("the server has none of the volumes", func(string) bool { return e.records() == 0 }, "get", "namespace", e.Namespace)
}

// records counts the server's records of volumes that were made for claims of the namespace.
func (e *env) records() int {
	out := e.server("grep -l '" + e.Namespace + "' /data/.nfs-operator/volumes/*.json 2>/dev/null | wc -l")
	var n int
	if _, err := fmt.Sscan(out, &n); err != nil {
		e.t.Fatalf("count records: %q", out)
	}
	return n
}
