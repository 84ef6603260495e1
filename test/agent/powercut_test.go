//go:build vm && long

package agent

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestPowerCut is one life of a machine whose power is cut from outside: package powercut starts it again and again with
// the same disk. It looks for what was acknowledged in former lives, and then makes more until it dies.
//
// POWER_CUT_ACKS is a file with a line "write=3 open=2..." for each former life: how many operations of each kind were acknowledged.
// POWER_CUT_WORKLOAD is the program of test/failure/workload.
func TestPowerCut(t *testing.T) {
	acks, workload := os.Getenv("POWER_CUT_ACKS"), os.Getenv("POWER_CUT_WORKLOAD")
	if acks == "" || workload == "" {
		t.Skip("`hack/test powercut` runs it, and cuts the power")
	}
	lives := formerLives(t, acks)
	h := host.New(t)
	if len(lives) == 0 {
		host.Wipe(t, host.DiskLarge)
	}
	a := h.Start(t, h.Config(host.DiskLarge))
	a.WaitServing(t)
	v := create(t, h.Controller(t), "pvc-power", 512*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	for i, life := range lives {
		out, err := exec.CommandContext(t.Context(), workload, append([]string{"verify", filepath.Join(dir, fmt.Sprint(i))}, life...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("life %d: acknowledged, but lost: %s", i, out)
		}
	}
	fmt.Println("VERIFIED", len(lives))
	mine := filepath.Join(dir, fmt.Sprint(len(lives)))
	if err := os.Mkdir(mine, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), workload, "run", mine)
	cmd.Env = append(os.Environ(), "WORKLOAD_ACKS=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	t.Errorf("the workload ended: %v", cmd.Run())
}

func formerLives(t *testing.T, file string) (lives [][]string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		lives = append(lives, strings.Fields(line))
	}
	return lives
}
