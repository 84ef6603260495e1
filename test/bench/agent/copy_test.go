//go:build vm && bench

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const filesADir = 100

// TestCopies times snapshots and clones against the number of files, and against the bytes of one file.
func TestCopies(t *testing.T) {
	h, _ := serving(t)
	c := h.Controller(t)
	for _, step := range []struct {
		files  int
		suffix string // of the keys; the design's is that with 10,000
	}{{1000, "_1000"}, {10_000, ""}} {
		begin := time.Now()
		v := volumeWith(t, h, c, fmt.Sprintf("pvc-files-%d", step.files), step.files, 4096)
		made := float64(time.Since(begin).Microseconds()) / float64(step.files)
		snapshots, clones := timeCopies(t, c, v)
		how := fmt.Sprintf("%d files of 4 KiB in directories of %d, in a virtual machine, wsync", step.files, filesADir)
		bench.Record(t, "create_file_us"+step.suffix, how+": made one after the other, before they are copied", made)
		bench.Record(t, "reflink_us_per_file"+step.suffix, "snapshot of "+how, perFile(snapshots, step.files)...)
		bench.Record(t, "clone_us_per_file"+step.suffix, "clone of "+how, perFile(clones, step.files)...)
	}
	for _, step := range []struct {
		bytes  int64
		suffix string
	}{{16 * mib, "_16_mib"}, {1024 * mib, "_1_gib"}} {
		v := volumeWith(t, h, c, fmt.Sprintf("pvc-bytes-%d", step.bytes), 1, step.bytes)
		snapshots, clones := timeCopies(t, c, v)
		how := fmt.Sprintf("one file of %d MiB that was written from begin to end, in a virtual machine", step.bytes/mib)
		bench.Record(t, "snapshot_ms"+step.suffix, how, inMilliseconds(snapshots)...)
		bench.Record(t, "clone_ms"+step.suffix, how, inMilliseconds(clones)...)
	}
}

// volumeWith makes a volume with so many files of a size, on the disk when it returns.
func volumeWith(t *testing.T, h *host.Host, c agentv1.AgentClient, name string, files int, size int64) *agentv1.Volume {
	t.Helper()
	v, err := c.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: name, Spec: &agentv1.VolumeSpec{Bytes: 1100 * mib, Mode: 0o777}})
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, min(size, mib))
	for i := range files {
		dir := filepath.Join(h.DataDir(), "volumes", v.GetId(), fmt.Sprintf("dir-%d", i/filesADir))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := writeFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), block, size, files == 1); err != nil {
			t.Fatal(err)
		}
	}
	return v
}

func writeFile(path string, block []byte, size int64, durable bool) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	for written := int64(0); written < size; written += int64(len(block)) {
		if _, err := file.Write(block); err != nil {
			return err
		}
	}
	if durable {
		if err := file.Sync(); err != nil {
			return err
		}
	}
	return file.Close()
}

// timeCopies makes snapshots and clones of a volume in turns, each until it can be used.
func timeCopies(t *testing.T, c agentv1.AgentClient, v *agentv1.Volume) (snapshots, clones []time.Duration) {
	t.Helper()
	for run := range runs {
		begin := time.Now()
		snapshot := &agentv1.CreateSnapshotRequest{Name: fmt.Sprintf("snapshot-%d-of-%s", run, v.GetId()), SourceVolumeId: v.GetId()}
		for ready := false; !ready; {
			_, err := c.CreateSnapshot(t.Context(), snapshot)
			if err != nil && status.Code(err) != codes.Aborted { // it goes on
				t.Fatal(err)
			}
			ready = err == nil
		}
		snapshots = append(snapshots, time.Since(begin))

		begin = time.Now()
		clone := &agentv1.CreateVolumeRequest{Name: fmt.Sprintf("clone-%d-of-%s", run, v.GetId()), Spec: &agentv1.VolumeSpec{Bytes: v.GetSpec().GetBytes()}, SourceVolumeId: v.GetId()}
		for ready := false; !ready; {
			_, err := c.CreateVolume(t.Context(), clone)
			if err != nil && status.Code(err) != codes.Aborted { // it goes on
				t.Fatal(err)
			}
			ready = err == nil
		}
		clones = append(clones, time.Since(begin))
	}
	return snapshots, clones
}

func perFile(all []time.Duration, files int) (us []float64) {
	for _, d := range all {
		us = append(us, float64(d.Microseconds())/float64(files))
	}
	return us
}

func inMilliseconds(all []time.Duration) (ms []float64) {
	for _, d := range all {
		ms = append(ms, milliseconds(d))
	}
	return ms
}
