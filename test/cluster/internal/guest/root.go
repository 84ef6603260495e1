package guest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const bind = unix.MS_BIND | unix.MS_REC

// etc is what a node takes of the host's /etc.
var etc = []string{
	"passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "protocols", "services", "rpc",
	"netconfig", "ssl", "ca-certificates", "mke2fs.conf", "login.defs", "debian_version", "os-release", "localtime", "bash.bashrc",
	"profile", "iproute2", "ethertypes", "request-key.conf", "request-key.d", "xattr.conf", "gai.conf", "idmapd.conf",
}

// makeRoot leaves the host's file system: the node's root is its own disk, with the host's programs (/usr) on it read-only.
// So nothing that runs on the node can change the machine that carries it, and, as on a real node, what is written to /etc or
// /var outlives a restart.
func (n *Node) makeRoot() error {
	const root = "/mnt"
	if err := (mountPoint{n.Disk, root, "ext4", 0, ""}).mount(); err != nil {
		return err
	}
	for _, dir := range []string{"usr", "etc", "var/lib/kubelet", "var/lib/cni", "var/log/pods", "var/tmp", "var/cache", "var/lib/nfs", "proc", "sys", "dev", "run", "tmp", "mnt", "opt", "root", "srv", "home"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"tmp", "var/tmp"} {
		if err := os.Chmod(filepath.Join(root, dir), 0o777|os.ModeSticky); err != nil {
			return err
		}
	}
	if err := n.linkAndCopy(root); err != nil {
		return err
	}
	binds := map[string]string{"/usr": "/usr"}
	for source, target := range n.Binds {
		binds[source] = target
	}
	for source, target := range binds {
		target = filepath.Join(root, target)
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := (mountPoint{source, target, "", bind, ""}).mount(); err != nil {
			return err
		}
	}
	// What CNI remembers of its networks ends with the pods' namespaces; after a power cut it would be half-written files.
	if err := (mountPoint{"tmpfs", root + "/var/lib/cni", "tmpfs", 0, ""}).mount(); err != nil {
		return err
	}
	return enter(root)
}

// linkAndCopy makes the links of the host's top level (/bin to usr/bin and so on) and copies the part of /etc that programs need.
func (n *Node) linkAndCopy(root string) error {
	links := map[string]string{"/var/run": "/run", "/var/lock": "/run/lock"}
	for _, name := range []string{"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"} {
		if target, err := os.Readlink(name); err == nil {
			links[name] = target
		}
	}
	for name, target := range links {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	var sources []string
	for _, name := range etc {
		if _, err := os.Lstat(filepath.Join("/etc", name)); err == nil {
			sources = append(sources, filepath.Join("/etc", name))
		}
	}
	if out, err := exec.Command("cp", append([]string{"-a", "-t", root + "/etc"}, sources...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("copy /etc: %w: %s", err, out)
	}
	// CNI's plugins work with the older iptables only, and everything else on the node has to use the same.
	for _, name := range []string{"iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore"} {
		link := filepath.Join(root, "etc/alternatives", name)
		family, suffix := name[:len("iptables")], name[len("iptables"):]
		if name[:3] == "ip6" {
			family, suffix = name[:len("ip6tables")], name[len("ip6tables"):]
		}
		_ = os.Remove(link)
		if err := os.Symlink("/usr/sbin/"+family+"-legacy"+suffix, link); err != nil {
			return err
		}
	}
	return nil
}

// enter makes dir the root and lets go of the old one.
func enter(dir string) error {
	for _, moved := range []string{"/proc", "/sys", "/dev", "/run"} {
		if err := (mountPoint{moved, dir + moved, "", unix.MS_MOVE, ""}).mount(); err != nil {
			return err
		}
	}
	if err := os.Chdir(dir); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change the root: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("detach the old root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	// A CSI driver's mounts have to reach the kubelet.
	return mountPoint{"", "/", "", unix.MS_SHARED | unix.MS_REC, ""}.mount()
}
