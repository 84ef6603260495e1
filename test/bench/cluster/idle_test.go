//go:build bench

package cluster

import (
	"fmt"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/bench"
)

// TestIdleWrites counts what our components write to the API while a pod writes to a volume and nobody changes an object.
func TestIdleWrites(t *testing.T) {
	k := newNamespace(t, "bench-idle")
	k.apply(claim("data") + pod("writer", `persistentVolumeClaim: {claimName: data}`, "", `while true; do date >> /data/file; sync; sleep 1; done`))
	k.do("wait", "--for=condition=Ready", "--timeout=300s", "pod/writer")
	const settle, window, runs = 2 * time.Minute, time.Minute, 5
	// What the new volume and pod bring about, status that is written at most every 30 s included, must have ended.
	time.Sleep(settle)
	var counts []float64
	for range runs {
		from := time.Now()
		time.Sleep(window)
		writes, err := k.Writes(from, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range writes {
			t.Log(w)
		}
		counts = append(counts, float64(len(writes)))
	}
	bench.Record(t, "idle_api_writes_per_min",
		fmt.Sprintf("audit log of the API server, %d minutes, one pod writing to one volume all the time", runs), counts...)
}
