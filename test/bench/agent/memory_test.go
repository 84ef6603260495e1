//go:build vm && bench

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

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

// residentMiB is what the agent and Ganesha hold together. The machine has no other process of these names.
func residentMiB(t *testing.T) float64 {
	t.Helper()
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
		if name := fields["Name"]; name != "ganesha.nfsd" && name != filepath.Base(host.Program) {
			continue
		}
		var n float64
		if _, err := fmt.Sscanf(fields["VmRSS"], "%f kB", &n); err == nil {
			kib += n
		}
	}
	return kib / 1024
}
