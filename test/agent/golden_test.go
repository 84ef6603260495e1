//go:build vm

package agent

import (
	"bytes"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

var (
	goldenPath = regexp.MustCompile(`Path = "(/[^"]*)";`)
	goldenPort = regexp.MustCompile(`NFS_Port = (\d+);`)
)

// TestGaneshaReadsTheGoldenFiles lets the real Ganesha start with each configuration that unit tests compare with what is rendered,
// and with one that has a mistake, which it must not serve.
func TestGaneshaReadsTheGoldenFiles(t *testing.T) {
	files, err := filepath.Glob("../../agent/ganesha/testdata/*.golden.conf")
	if err != nil || len(files) == 0 {
		t.Fatalf("golden files: %v, %v", files, err)
	}
	h := host.New(t)
	disk := h.Path("/run/golden")
	if out, err := exec.Command("mkfs.xfs", "-q", "-f", "-K", host.DiskLarge).CombinedOutput(); err != nil {
		t.Fatalf("mkfs.xfs: %v: %s", err, out)
	}
	if err := os.MkdirAll(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(host.DiskLarge, disk, "xfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		config := strings.ReplaceAll(string(text), `"/data/`, `"/run/golden/`)
		t.Run(filepath.Base(file), func(t *testing.T) {
			if log, err := startGanesha(t, h, config); err != nil {
				t.Errorf("%v\n%s", err, log)
			}
		})
	}
	t.Run("with a mistake", func(t *testing.T) {
		text, err := os.ReadFile("../../agent/ganesha/testdata/empty.golden.conf")
		if err != nil {
			t.Fatal(err)
		}
		config := strings.ReplaceAll(string(text), `"/data/`, `"/run/golden/`)
		if log, err := startGanesha(t, h, strings.Replace(config, "Delegations =", "Delegation =", 1)); err == nil {
			t.Errorf("Ganesha serves with an unknown parameter:\n%s", log)
		}
	})
}

var errNotServing = errors.New("ganesha.nfsd ended, or complained of its configuration, or did not serve within a minute")

// startGanesha starts Ganesha as the agent does, waits until it serves, and kills it. Its log is returned, too.
func startGanesha(t *testing.T, h *host.Host, config string) (log string, err error) {
	t.Helper()
	for _, path := range goldenPath.FindAllStringSubmatch(config, -1) {
		if err := os.MkdirAll(h.Path(path[1]), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll(h.Path("/run/golden/.nfs-operator/recovery"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(h.Path("/run/golden.conf"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.Command("ganesha.nfsd", "-F", "-x", "-f", "/run/golden.conf", "-L", "STDERR", "-N", "NIV_EVENT", "-p", "/run/golden.pid")
	cmd.Path = "/usr/bin/ganesha.nfsd" // in the chroot
	cmd.Err = nil
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.Root()}
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	address := netip.MustParseAddrPort("127.0.0.1:" + goldenPort.FindStringSubmatch(config)[1])
	served := false
	for end := time.Now().Add(time.Minute); !served && time.Now().Before(end); {
		served = ganesha.Probe(t.Context(), address) == nil
		select {
		case <-ended:
			end = time.Now()
		case <-time.After(50 * time.Millisecond):
		}
	}
	_ = cmd.Process.Kill()
	<-ended
	if log = out.String(); !served || strings.Contains(log, ":CONFIG :CRIT") || strings.Contains(log, ":CONFIG :MAJ") {
		return log, errNotServing
	}
	return log, nil
}
