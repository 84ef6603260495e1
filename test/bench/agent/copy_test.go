//go:build vm && bench

package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const (
	filesCopied    = 10_000
	filesADir      = 100
	snapshotsTimed = 3
)

func TestCopies(t *testing.T) {
	h, _ := serving(t)
	c := h.Controller(t)
	v, err := c.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: "pvc-files", Spec: &agentv1.VolumeSpec{Bytes: 1024 * mib, Mode: 0o777}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	for i := range filesCopied {
		dir := filepath.Join(h.DataDir(), "volumes", v.GetId(), fmt.Sprintf("dir-%d", i/filesADir))
		if i%filesADir == 0 {
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("file-%d", i)), make([]byte, 4096), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	bench.Record(t, "create_file_us", fmt.Sprintf("%d files made one after the other, before they are copied", filesCopied), float64(time.Since(begin).Microseconds())/filesCopied)
	var perFile []float64
	for run := range snapshotsTimed {
		begin := time.Now()
		request := &agentv1.CreateSnapshotRequest{Name: fmt.Sprintf("snapshot-%d", run), SourceVolumeId: v.GetId()}
		for ready := false; !ready; {
			s, err := c.CreateSnapshot(t.Context(), request)
			if err != nil {
				t.Fatal(err)
			}
			ready = s.GetReady()
		}
		perFile = append(perFile, float64(time.Since(begin).Microseconds())/filesCopied)
	}
	bench.Record(t, "reflink_us_per_file", fmt.Sprintf("snapshot of %d files of 4 KiB in directories of %d, in a virtual machine, wsync", filesCopied, filesADir), perFile...)
}
