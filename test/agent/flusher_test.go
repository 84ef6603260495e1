//go:build vm

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// testEveryThreadIsAnIOFlusher looks at the threads of all processes of the server: the kernel sets two flags of a thread for
// PR_SET_IO_FLUSHER (PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, include/linux/sched.h).
func testEveryThreadIsAnIOFlusher(t *testing.T, _ *host.Host) {
	t.Helper()
	const flags = 0x00080000 | 0x00100000
	seen := map[string]int{}
	files, err := filepath.Glob("/proc/[0-9]*/task/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		process, err := os.ReadFile(filepath.Join(filepath.Dir(file), "../../comm"))
		name := strings.TrimSpace(string(process))
		if err != nil || !slices.Contains([]string{"nfs-operator", "dbus-daemon", "ganesha.nfsd"}, name) {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(text), ") ")
		var state string
		var number, has int
		if _, err := fmt.Sscan(rest, &state, &number, &number, &number, &number, &number, &has); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		seen[name]++
		if has&flags != flags && state != "Z" {
			t.Errorf("%s of %s has flags %#x", file, name, has)
		}
	}
	if len(seen) != 3 {
		t.Errorf("processes %v", seen)
	}
}
