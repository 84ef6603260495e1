//go:build bench

package cluster

import (
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/bench"
)

// TestPodStart starts pods on one node in turns, with an emptyDir and with a volume that no other pod of the node uses,
// so that it is staged and published each time.
func TestPodStart(t *testing.T) {
	const pairs = 15
	k := newNamespace(t, "bench-pod-start")
	k.apply(claim("data"))
	k.do("wait", "--for=jsonpath={.status.phase}=Bound", "--timeout=300s", "pvc/data")
	node := k.do("get", "nodes", "-o", "jsonpath={.items[0].metadata.name}")
	client := k.client()
	const sleep = "exec sleep infinity"
	start := func(name, source string) time.Duration {
		took := client.startTime(pod(name, source, node, sleep))
		k.do("delete", "pod", name, "--timeout=300s")
		return took
	}
	var added, with, without []float64
	for i := range pairs + 1 {
		volume := start("with-volume", "persistentVolumeClaim: {claimName: data}")
		empty := start("with-empty-dir", "emptyDir: {}")
		if i == 0 {
			continue // caches
		}
		with, without = append(with, milliseconds(volume)), append(without, milliseconds(empty))
		added = append(added, milliseconds(volume-empty))
	}
	t.Logf("median with the volume %.0f ms, with emptyDir %.0f ms", bench.Percentile(with, 50), bench.Percentile(without, 50))
	bench.Record(t, "pod_start_added_ms", "15 interleaved pairs on one node, create to Ready as a watch sees it, volume staged each time; differences", added...)
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
