//go:build vm && bench

package agent

import (
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const (
	throughputRuns = 7
	fileMiB        = 128
	block          = 4096
	randomWrites   = 500
	randomReads    = 2000
	metadataFiles  = 500
)

// work is one kind of I/O in a directory. It returns how many units it did (MiB, or operations).
type work struct {
	key string // nfs_KEY, local_KEY, ratio_KEY
	how string
	do  func(dir string) (units float64, err error)
	// cold empties the page, dentry and inode caches before.
	cold bool
}

// works are in an order in which each finds what it needs.
var works = []work{
	{"write_mib_s", fmt.Sprintf("%d MiB in writes of 1 MiB, one fsync at the end", fileMiB), writeSequentially, false},
	{"read_mib_s", fmt.Sprintf("%d MiB in reads of 1 MiB, caches of client and server empty", fileMiB), readSequentially, true},
	{"random_write_4k_per_s", fmt.Sprintf("%d writes at random places of a file of %d MiB, fsync after each", randomWrites, fileMiB), writeRandomly, false},
	{"random_read_4k_per_s", fmt.Sprintf("%d reads at random places of a file of %d MiB, caches of client and server empty", randomReads, fileMiB), readRandomly, true},
	{"creates_per_s", fmt.Sprintf("%d files created and closed in one directory, each durable (wsync)", metadataFiles), createFiles, false},
	{"stats_per_s", fmt.Sprintf("a directory of %d files listed and each looked up, caches of client and server empty", metadataFiles), statFiles, true},
	{"removes_per_s", fmt.Sprintf("%d files removed, each durable (wsync)", metadataFiles), removeFiles, false},
}

// TestThroughput does the same on a volume through the kernel's NFS client and on the server's own file system, in turns, so that what
// else goes on meets both. Client and server share the machine's one CPU, and there is no network between them.
func TestThroughput(t *testing.T) {
	h, _ := serving(t)
	v, err := h.Controller(t).CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: "pvc-throughput", Spec: &agentv1.VolumeSpec{Bytes: 1024 * mib, Mode: 0o777}})
	if err != nil {
		t.Fatal(err)
	}
	access, err := h.Node(t, "node-1").OpenAccess(t.Context(), &agentv1.OpenAccessRequest{
		Client: &agentv1.Client{BootId: "boot"}, Grant: &agentv1.Grant{VolumeId: v.GetId(), Generation: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
	nfs, local := h.Mount(t, access), filepath.Join(h.DataDir(), "volumes", v.GetId(), "local")
	if err := os.Mkdir(local, 0o755); err != nil {
		t.Fatal(err)
	}
	rates := map[string][]float64{}
	for run := range throughputRuns {
		for _, w := range works {
			viaNFS := func() float64 { return w.rate(t, nfs) }
			onDisk := func() float64 { return w.rate(t, local) }
			var n, l float64
			if run%2 == 0 {
				n, l = viaNFS(), onDisk()
			} else {
				l, n = onDisk(), viaNFS()
			}
			rates["nfs_"+w.key] = append(rates["nfs_"+w.key], n)
			rates["local_"+w.key] = append(rates["local_"+w.key], l)
			rates["ratio_"+w.key] = append(rates["ratio_"+w.key], n/l)
		}
	}
	for _, w := range works {
		for _, side := range []string{"nfs_", "local_", "ratio_"} {
			bench.Record(t, side+w.key, w.how+"; NFS and local in turns, client and server on one CPU of a virtual machine", rates[side+w.key]...)
		}
	}
}

// rate is units a second.
func (w work) rate(t *testing.T, dir string) float64 {
	t.Helper()
	unix.Sync()
	if w.cold {
		if err := os.WriteFile("/proc/sys/vm/drop_caches", []byte("3"), 0); err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	units, err := w.do(dir)
	took := time.Since(begin)
	if err != nil {
		t.Fatalf("%s: %v", w.key, err)
	}
	return units / took.Seconds()
}

func large(dir string) string { return filepath.Join(dir, "large") }

func writeSequentially(dir string) (float64, error) {
	if err := os.RemoveAll(large(dir)); err != nil {
		return 0, err
	}
	f, err := os.Create(large(dir))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	chunk := noise(int(mib))
	for range fileMiB {
		if _, err := f.Write(chunk); err != nil {
			return 0, err
		}
	}
	return fileMiB, f.Sync()
}

func readSequentially(dir string) (float64, error) {
	f, err := os.Open(large(dir))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	chunk := make([]byte, mib)
	for range fileMiB {
		if _, err := io.ReadFull(f, chunk); err != nil {
			return 0, err
		}
	}
	return fileMiB, nil
}

func writeRandomly(dir string) (float64, error) {
	f, err := os.OpenFile(large(dir), os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	chunk := noise(block)
	for range randomWrites {
		if _, err := f.WriteAt(chunk, somewhere()); err != nil {
			return 0, err
		}
		if err := f.Sync(); err != nil {
			return 0, err
		}
	}
	return randomWrites, nil
}

func readRandomly(dir string) (float64, error) {
	f, err := os.Open(large(dir))
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	if err := unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_RANDOM); err != nil {
		return 0, err
	}
	chunk := make([]byte, block)
	for range randomReads {
		if _, err := f.ReadAt(chunk, somewhere()); err != nil {
			return 0, err
		}
	}
	return randomReads, nil
}

func somewhere() int64 { return rand.Int64N(fileMiB*mib/block) * block }

func noise(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

func small(dir string, i int) string { return filepath.Join(dir, "small", fmt.Sprintf("file-%d", i)) }

func createFiles(dir string) (float64, error) {
	if err := os.Mkdir(filepath.Dir(small(dir, 0)), 0o755); err != nil {
		return 0, err
	}
	for i := range metadataFiles {
		f, err := os.Create(small(dir, i))
		if err != nil {
			return 0, err
		}
		if err := f.Close(); err != nil {
			return 0, err
		}
	}
	return metadataFiles, nil
}

func statFiles(dir string) (float64, error) {
	entries, err := os.ReadDir(filepath.Dir(small(dir, 0)))
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		if _, err := e.Info(); err != nil {
			return 0, err
		}
	}
	if len(entries) != metadataFiles {
		return 0, fmt.Errorf("%d files are listed, want %d", len(entries), metadataFiles)
	}
	return metadataFiles, nil
}

func removeFiles(dir string) (float64, error) {
	for i := range metadataFiles {
		if err := os.Remove(small(dir, i)); err != nil {
			return 0, err
		}
	}
	return metadataFiles, os.Remove(filepath.Dir(small(dir, 0)))
}
