//go:build long

// Package powercut cuts the power of a server's machine right after acknowledged writes, creates, renames, links, unlinks, chmods, truncates
// and mkdirs, and looks after each restart for all that was ever acknowledged. `hack/test powercut` runs it.
package powercut

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const (
	defaultCuts = 20 // POWER_CUTS is another number
	// Acknowledgements that a life gets before the power goes, at least and at most.
	fewest, most = 20, 120
	lifetime     = 8 * time.Minute
)

// synced are the kinds of operations that end with an fsync, which brings everything before it to the disk. The power goes after another.
var synced = map[string]bool{"write": true, "open": true}

// machine is what hack/test has built.
type machine struct {
	cluster, guest, workload string // programs; guest is the test binary of test/agent
	disk, acks               string // files
}

func TestPowerCuts(t *testing.T) {
	dir, err := os.MkdirTemp("/var/tmp", "power-cut-") //nolint:usetesting // /tmp may be a tmpfs of the machine's own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	m := machine{
		cluster: os.Getenv("POWER_CUT_CLUSTER"), guest: os.Getenv("POWER_CUT_GUEST"), workload: os.Getenv("POWER_CUT_WORKLOAD"),
		disk: filepath.Join(dir, "disk.img"), acks: filepath.Join(dir, "acks"),
	}
	if m.cluster == "" || m.guest == "" || m.workload == "" {
		t.Fatal("run `hack/test powercut`")
	}
	disk, err := os.Create(m.disk)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.Truncate(8 << 30); err != nil {
		t.Fatal(err)
	}
	disk.Close()
	cuts := defaultCuts
	if n, err := strconv.Atoi(os.Getenv("POWER_CUTS")); err == nil {
		cuts = n
	}
	lives := ""
	total := map[string]int64{}
	for i := range cuts + 1 { // the last life verifies the last cut
		if err := os.WriteFile(m.acks, []byte(lives), 0o600); err != nil {
			t.Fatal(err)
		}
		acked := m.live(t, i, fewest+rand.IntN(most-fewest))
		for kind, n := range acked {
			lives += fmt.Sprintf("%s=%d ", kind, n)
			total[kind] += n
		}
		lives += "\n"
		t.Logf("life %d: all of the former ones is there; then acknowledged: %v", i, acked)
	}
	t.Logf("%d power cuts, acknowledged in all: %v; nothing was lost", cuts, total)
}

// live boots the machine, waits until it has verified all former lives and has had n operations acknowledged, and cuts
// the power. It returns the number of the last acknowledged operation of each kind.
func (m machine) live(t *testing.T, life, n int) map[string]int64 {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), m.cluster, "vm", "run", "--disk", m.disk, "--mem", "1G", "--timeout", lifetime.String(),
		"--", m.guest, "-test.v", "-test.run", "^TestPowerCut$", "-test.timeout", lifetime.String())
	cmd.Dir = filepath.Join("..", "agent")
	cmd.Env = append(os.Environ(), "POWER_CUT_ACKS="+m.acks)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it kills the machine with SIGKILL
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acked := map[string]int64{}
	verified, count := false, 0
	var log strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) == 2 && f[0] == "VERIFIED":
			verified = f[1] == strconv.Itoa(life)
		case len(f) == 3 && f[0] == "ACK":
			acked[f[1]], _ = strconv.ParseInt(f[2], 10, 64)
			if count++; count >= n && !synced[f[1]] {
				_ = cmd.Cancel()
			}
		default:
			fmt.Fprintln(&log, lines.Text())
		}
	}
	_ = cmd.Wait()
	if !verified || count < n {
		t.Fatalf("life %d: verified the former ones: %v; %d of %d acknowledgements:\n%s", life, verified, count, n, log.String())
	}
	return acked
}
