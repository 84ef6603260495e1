package main

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

func TestStartupMemoryIsGivenBack(t *testing.T) {
	before := mappedKiB(t)
	bytes, err := unmapProgram()
	if err != nil || bytes == 0 {
		t.Fatalf("unmapProgram = %d, %v", bytes, err)
	}
	if after := mappedKiB(t); after >= before {
		t.Errorf("%d KiB of files are mapped, before it were %d", after, before)
	} else {
		t.Logf("%d KiB of files were mapped, now %d", before, after)
	}
	// The program is still there.
	if cmd := newCSINodeCommand(); cmd.Name() != "csi-node" || len(strings.Fields("a b")) != 2 {
		t.Error("the program has changed")
	}
}

// mappedKiB is how much of files this process has in memory.
func mappedKiB(t *testing.T) int {
	t.Helper()
	f, err := os.Open("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		if fields := strings.Fields(scanner.Text()); len(fields) == 3 && fields[0] == "RssFile:" {
			n, err := strconv.Atoi(fields[1])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssFile")
	return 0
}
