// Package host runs a real agent for tests: in a virtual machine (cluster vm run), in a chroot of the server image's root
// directory, with a data disk, certificates and clients of every role. Only tests with the build tag vm can use it.
package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// Where hack/test-vm says that things are.
const (
	rootVariable   = "NFS_SERVER_ROOT" // unpacked root directory of the server image
	binaryVariable = "NFS_OPERATOR"    // the program under test
)

// The disks that hack/test-vm gives the machine.
const (
	// DiskLarge has 8 GiB.
	DiskLarge = "/dev/ubdb"
	// DiskSmall has 2 GiB.
	DiskSmall = "/dev/ubdc"
)

const (
	backend    = "test"
	runDir     = "/run/agent" // in the chroot, on a tmpfs
	dataDir    = "/run/data"
	tlsDir     = "/run/tls"
	binaryPath = "/run/nfs-operator"

	exportsFile = "/run/exports.yaml"
)

// Program is the name under which agents appear among the machine's processes.
const Program = "nfs-operator"

// Host is a place where agents run.
type Host struct {
	root      string
	authority *pki.Authority
}

// New prepares the chroot. It lasts as long as the virtual machine.
func New(tb testing.TB) *Host {
	tb.Helper()
	h, err := prepare()
	if err != nil {
		tb.Fatal(err)
	}
	return h
}

func prepare() (*Host, error) {
	root, binary := os.Getenv(rootVariable), os.Getenv(binaryVariable)
	if root == "" || binary == "" {
		return nil, fmt.Errorf("%s and %s are not set: run hack/test-vm", rootVariable, binaryVariable)
	}
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, err
	}
	h := &Host{root: root}
	if _, err := os.Stat(h.Path(binaryPath)); errors.Is(err, os.ErrNotExist) {
		if err := h.mountAll(binary); err != nil {
			return nil, err
		}
	}
	pair, err := pki.NewAuthority(time.Now())
	if err != nil {
		return nil, err
	}
	if h.authority, err = pki.LoadAuthority(pair); err != nil {
		return nil, err
	}
	return h, h.WriteIdentity(tlsDir, pki.Identity{Role: pki.RoleAgent, Name: h.Shard()})
}

// mountAll covers everything in the chroot that is written to: what lies below is the build host's.
func (h *Host) mountAll(binary string) error {
	for _, m := range []struct {
		source, target, fstype string
		flags                  uintptr
	}{
		{"proc", "/proc", "proc", 0},
		{"sysfs", "/sys", "sysfs", 0},
		{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC},
		{"tmpfs", "/run", "tmpfs", 0},
		{"tmpfs", "/tmp", "tmpfs", 0},
	} {
		if err := unix.Mount(m.source, h.Path(m.target), m.fstype, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s: %w", m.target, err)
		}
	}
	program, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	return os.WriteFile(h.Path(binaryPath), program, 0o755)
}

// Path is where a path of the chroot lies outside.
func (h *Host) Path(inside string) string { return filepath.Join(h.root, inside) }

// DataDir is where the agent's disk is mounted, seen from outside.
func (h *Host) DataDir() string { return h.Path(dataDir) }

// Shard is the name in the agent's certificate.
func (h *Host) Shard() string { return names.Shard(backend, 0) }

// WriteIdentity issues a certificate and writes it, its key and the bundle to a directory of the chroot.
func (h *Host) WriteIdentity(dir string, id pki.Identity) error {
	pair, err := h.authority.Issue(time.Now(), id, time.Hour)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(h.Path(dir), 0o700); err != nil {
		return err
	}
	for name, text := range map[string][]byte{names.KeyCert: pair.Cert, names.KeyKey: pair.Key, names.KeyCA: h.authority.Bundle()} {
		if err := os.WriteFile(filepath.Join(h.Path(dir), name), text, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// Config is a configuration for an agent on a disk.
func (h *Host) Config(device string) config.Config {
	return config.Config{
		Backend: backend, Device: device, DataDir: dataDir,
		LeaseSeconds: 10, GraceSeconds: 15, OvercommitPercent: 100,
		SilenceSeconds: 10, // nobody waits for a node here
	}
}

// Mounted is a configuration for an agent on a file system that is mounted already, as MountData does it.
func (h *Host) Mounted(serverID string) config.Config {
	c := h.Config("")
	c.ServerID = serverID
	return c
}

// External is a configuration for an agent that works on a share of another server.
func (*Host) External(x config.External) config.Config {
	return config.Config{Backend: backend, DataDir: "/run/share", External: &x}
}

// Root is the root directory of the server image.
func (h *Host) Root() string { return h.root }

// Wipe makes a disk blank.
func Wipe(tb testing.TB, device string) {
	tb.Helper()
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	end, err := f.Seek(0, 2)
	if err != nil {
		tb.Fatal(err)
	}
	zero := make([]byte, 2<<20)
	for _, at := range []int64{0, end - int64(len(zero))} {
		if _, err := f.WriteAt(zero, at); err != nil {
			tb.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		tb.Fatal(err)
	}
}
