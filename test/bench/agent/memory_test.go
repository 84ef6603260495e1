//go:build vm && bench

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

func TestMemory(t *testing.T) {
	h, a := serving(t)
	for _, volumes := range []int{0, 1000} {
		fill(t, h.Controller(t), 0, volumes)
		var memory []float64
		for range runs {
			a.Kill()
			a = h.Start(t, roomy(h))
			a.WaitServing(t)
			memory = append(memory, residentMiB(t))
		}
		bench.Record(t, fmt.Sprintf("server_rss_mib_%d", volumes), fmt.Sprintf("VmRSS of agent and ganesha.nfsd after a start with %d volumes", volumes), memory...)
	}
}

// settled is how long after its start the agent has given back what only the start has used.
const settled = 25 * time.Second

// residentMiB is what the agent and Ganesha hold together, some time after the start. The machine has no other process of these names.
func residentMiB(t *testing.T) float64 {
	t.Helper()
	time.Sleep(settled)
	var kib float64
	files, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(line, ":"); ok {
				fields[key] = strings.TrimSpace(value)
			}
		}
		name := fields["Name"]
		if name != "ganesha.nfsd" && name != filepath.Base(host.Program) {
			continue
		}
		var n float64
		if _, err := fmt.Sscanf(fields["VmRSS"], "%f kB", &n); err == nil {
			t.Logf("%s: resident %s, anonymous %s", name, fields["VmRSS"], fields["RssAnon"])
			kib += n
		}
	}
	return kib / 1024
}
