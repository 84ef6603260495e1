// Package nas is an NFS server that exists elsewhere, for tests in a virtual machine (cluster vm run): the kernel's own, on a disk of
// the machine, and a way to it that can be cut. It is started without any of nfs-utils: what its daemons tell the kernel is written
// into the kernel's caches directly.
package nas

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	control = "/proc/fs/nfsd"
	caches  = "/proc/net/rpc"
	domain  = "tests"
	forever = 2_147_483_647
	anybody = 65_534

	// Address of the server, and the port at which it always answers.
	Address = "127.0.0.1"
	Port    = 2049

	leaseSeconds = 10
)

// Flags of an export (linux/nfsd/export.h).
const (
	flagInsecure   = 0x2
	flagRootSquash = 0x4
	flagReadOnly   = 0x1
	flagNoSubtree  = 0x400
	flagFSID       = 0x2000
)

// Options of a server.
type Options struct {
	Root       string // where mkfs.xfs lies: the root directory of the server image
	Device     string
	NoReflink  bool
	OnlyNFS41  bool
	RootSquash bool
}

// NAS is a running server. Its root directory, "/" to clients, is Dir.
type NAS struct {
	Dir string
}

// Start starts the server, which is stopped at the end of the test.
func Start(tb testing.TB, o Options) *NAS {
	tb.Helper()
	n := &NAS{Dir: "/mnt/nas"}
	set := "lts_5.15"
	if o.NoReflink {
		set = "lts_4.19"
	}
	mkfs := exec.Command("/usr/sbin/mkfs.xfs", "-q", "-f", "-K", "-c", "options=/usr/share/xfsprogs/mkfs/"+set+".conf", o.Device)
	mkfs.Path, mkfs.Err, mkfs.Dir = "/usr/sbin/mkfs.xfs", nil, "/"
	mkfs.SysProcAttr = &syscall.SysProcAttr{Chroot: o.Root}
	if out, err := mkfs.CombinedOutput(); err != nil {
		tb.Fatalf("mkfs.xfs: %v: %s", err, out)
	}
	if err := os.MkdirAll(n.Dir, 0o755); err != nil {
		tb.Fatal(err)
	}
	must(tb, unix.Mount(o.Device, n.Dir, "xfs", 0, "wsync"))
	tb.Cleanup(func() { _ = unix.Unmount(n.Dir, unix.MNT_DETACH) })
	if err := unix.Mount("nfsd", control, "nfsd", 0, ""); err != nil && err != unix.EBUSY {
		tb.Fatalf("mount %s: %v", control, err)
	}
	tb.Cleanup(func() { n.stop(tb) })
	versions := "-2 -3 +4 +4.1 +4.2"
	if o.OnlyNFS41 {
		versions = "-2 -3 +4 +4.1 -4.2"
	}
	tell(tb, filepath.Join(control, "versions"), versions)
	tell(tb, filepath.Join(control, "nfsv4leasetime"), fmt.Sprint(leaseSeconds))
	tell(tb, filepath.Join(control, "nfsv4gracetime"), fmt.Sprint(leaseSeconds))
	tell(tb, filepath.Join(caches, "auth.unix.ip/channel"), fmt.Sprintf("nfsd %s %d %s", Address, forever, domain))
	n.export(tb, o.flags())
	tell(tb, filepath.Join(caches, "nfsd.fh/channel"), fmt.Sprintf(`%s 1 \x00000000 %d %s`, domain, forever, n.Dir))
	tell(tb, filepath.Join(control, "threads"), "8")
	return n
}

func (o Options) flags() int {
	if o.RootSquash {
		return flagRootSquash
	}
	return 0
}

// SquashRoot has the server take root for nobody, or no longer.
func (n *NAS) SquashRoot(tb testing.TB, squash bool) {
	tb.Helper()
	n.export(tb, Options{RootSquash: squash}.flags())
}

// SetReadOnly has the server refuse all writes, or no longer.
func (n *NAS) SetReadOnly(tb testing.TB, readOnly bool) {
	tb.Helper()
	flags := 0
	if readOnly {
		flags = flagReadOnly
	}
	n.export(tb, flags)
}

func (n *NAS) export(tb testing.TB, flags int) {
	tb.Helper()
	tell(tb, filepath.Join(caches, "nfsd.export/channel"), fmt.Sprintf("%s %s %d %d %d %d 0",
		domain, n.Dir, forever, flags|flagInsecure|flagNoSubtree|flagFSID, anybody, anybody))
}

// MakeDir makes a directory on the server, and returns its path there and to clients.
func (n *NAS) MakeDir(tb testing.TB, name string, mode os.FileMode) (dir, path string) {
	tb.Helper()
	dir = filepath.Join(n.Dir, name)
	must(tb, os.Mkdir(dir, mode))
	must(tb, os.Chmod(dir, mode))
	return dir, "/" + name
}

func (n *NAS) stop(tb testing.TB) {
	tb.Helper()
	tell(tb, filepath.Join(control, "threads"), "0")
	for _, cache := range []string{"auth.unix.ip", "nfsd.fh", "nfsd.export"} {
		tell(tb, filepath.Join(caches, cache, "flush"), fmt.Sprint(forever-1))
	}
}

// tell writes one line in one system call.
func tell(tb testing.TB, file, line string) {
	tb.Helper()
	f, err := os.OpenFile(file, os.O_WRONLY, 0)
	if err != nil {
		tb.Fatal(err)
	}
	_, err = f.WriteString(strings.TrimSpace(line) + "\n")
	if closing := f.Close(); err == nil {
		err = closing
	}
	if err != nil {
		tb.Fatalf("tell %s %q: %v", file, line, err)
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatal(err)
	}
}
