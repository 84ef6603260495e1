//go:build vm && long

package agent

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// TestPowerCut is one life of a machine whose power is cut from outside: package powercut starts it again and again with
// the same disk. It looks for what was acknowledged in former lives, and then makes more until it dies.
//
// POWER_CUT_ACKS is a file with a line "<number of writes> <number of rounds>" for each former life; POWER_CUT_WORKLOAD is
// the program of test/failure/workload.
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
		out, err := exec.CommandContext(t.Context(), workload, "verify", filepath.Join(dir, fmt.Sprint(i)), fmt.Sprint(life[0]), fmt.Sprint(life[1])).CombinedOutput()
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

func formerLives(t *testing.T, file string) (lives [][2]int64) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var life [2]int64
		if _, err := fmt.Sscan(lines.Text(), &life[0], &life[1]); err != nil {
			t.Fatal(err)
		}
		lives = append(lives, life)
	}
	return lives
}
