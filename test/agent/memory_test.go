//go:build vm && long

package agent

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// TestMemoryIsShort has clients on the server's own node write more than the node has memory, while hardly any is free: the kernel can free
// dirty pages only when the server takes them, for which the server itself needs memory. The writes come to an end, the agent answers
// meanwhile, nothing is killed, and all bytes are there.
func TestMemoryIsShort(t *testing.T) {
	const (
		writers   = 4
		blocks    = 320 // of a MiB, each writer's
		available = 128 * mib
	)
	h, _ := serving(t)
	c := h.Controller(t)
	mount := h.Mount(t, open(t, h.Node(t, "node-a"), create(t, c, "pvc-memory", 2*gib).GetId()))
	file := func(i int) string { return filepath.Join(mount, fmt.Sprintf("file-%d", i)) }
	killed := figure(t, "/proc/vmstat", "oom_kill")
	total := figure(t, "/proc/meminfo", "MemTotal:") * 1024
	if writers*blocks*mib < total {
		t.Fatalf("the machine has %d MiB: more than is written", total/mib)
	}
	if taken := figure(t, "/proc/meminfo", "MemAvailable:")*1024 - available; taken > 0 {
		hog, err := unix.Mmap(-1, 0, int(taken), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANONYMOUS|unix.MAP_PRIVATE|unix.MAP_POPULATE)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Munmap(hog) })
		t.Logf("%d of %d MiB are taken", taken/mib, total/mib)
	}

	begin := time.Now()
	var group errgroup.Group
	for i := range writers {
		group.Go(func() error { return writeBlocks(file(i), blocks, byte(i)) })
	}
	done := make(chan error, 1)
	go func() { done <- group.Wait() }()
	var slowest time.Duration
	end := time.After(15 * time.Minute)
	for waiting := true; waiting; {
		select {
		case err := <-done:
			if err != nil {
				t.Fatal(err)
			}
			waiting = false
		case <-end:
			t.Fatal("the writes do not come to an end")
		default:
			asked := time.Now()
			if _, err := h.Manager(t).GetStatus(within(t, time.Minute), &agentv1.GetStatusRequest{}); err != nil {
				t.Fatalf("the agent does not answer: %v", err)
			}
			slowest = max(slowest, time.Since(asked))
		}
	}
	t.Logf("%d MiB written in %s; the agent's slowest answer took %s", writers*blocks, time.Since(begin).Round(time.Second), slowest.Round(time.Millisecond))
	if now := figure(t, "/proc/vmstat", "oom_kill"); now != killed {
		t.Errorf("%d processes were killed for lack of memory", now-killed)
	}
	for i := range writers {
		if err := checkBlocks(file(i), blocks, byte(i)); err != nil {
			t.Error(err)
		}
	}
}

// writeBlocks writes blocks of a MiB that tell whose and which they are, and has them on the server at the end.
func writeBlocks(path string, blocks int, writer byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	for i := range blocks {
		if _, err := f.Write(block(writer, i)); err != nil {
			return err
		}
	}
	return errors.Join(f.Sync(), unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED), f.Close())
}

func checkBlocks(path string, blocks int, writer byte) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	got := make([]byte, mib)
	for i := range blocks {
		if _, err := io.ReadFull(f, got); err != nil {
			return fmt.Errorf("%s: block %d: %w", path, i, err)
		}
		if !bytes.Equal(got, block(writer, i)) {
			return fmt.Errorf("%s: block %d is not what was written", path, i)
		}
	}
	return nil
}

func block(writer byte, i int) []byte {
	return bytes.Repeat([]byte{writer, byte(i), byte(i >> 8), 0x5a}, int(mib)/4)
}

// figure is a number of a file of /proc that has a name before each.
func figure(t *testing.T, file, name string) int64 {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == name {
			n, err := strconv.ParseInt(f[1], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("%s has no %s", file, name)
	return 0
}
