package guest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Node describes a node of the cluster. All paths but Binds' sources are the node's.
type Node struct {
	IP, Gateway string            // the address comes with its prefix length
	Routes      map[string]string // pod network of another node: its address
	Token       string            // see serveControl
	Disk        string            // block device of the node's root file system
	Binds       map[string]string // directory of the host: where the node sees it, read-only
	Links       map[string]string // symbolic link and its target
	Files       map[string]string // configuration: path and content
	Images      []string          // archives that containerd imports before the kubelet starts
	Services    []Service
	Prepare     bool // only fill the disk with the images, and power off
}

// Service is a program that is started again when it ends.
type Service struct {
	Name string
	Args []string
	Log  string // serial line
	Wait string // a file or socket that must exist before the next one is started
}

// Prepared is the file on a node's disk that says that preparing it came to its end.
const Prepared = "/var/lib/prepared"

const nodePath = "/opt/kubernetes/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

func (n *Node) run() error {
	os.Setenv("PATH", nodePath)
	if n.Prepare {
		return n.prepare()
	}
	for _, step := range []func() error{n.makeRoot, n.writeFiles, n.tune, n.network} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := serveControl(strings.Split(n.IP, "/")[0], n.Token); err != nil {
		return err
	}
	return n.serve()
}

// prepare makes a disk with which nodes start: unpacking the images takes a node longer than everything else together.
func (n *Node) prepare() error {
	for _, step := range []func() error{n.makeRoot, n.writeFiles} {
		if err := step(); err != nil {
			return err
		}
	}
	containerd := exec.Command(n.Services[0].Args[0], n.Services[0].Args[1:]...)
	containerd.Stdout, containerd.Stderr = os.Stderr, os.Stderr
	if err := containerd.Start(); err != nil {
		return err
	}
	if err := waitForFile(n.Services[0].Wait); err != nil {
		return err
	}
	if err := n.importImages(); err != nil {
		return err
	}
	if err := containerd.Process.Signal(unix.SIGTERM); err != nil {
		return err
	}
	_ = containerd.Wait() // it does not end with 0
	if err := os.WriteFile(Prepared, nil, 0o644); err != nil {
		return err
	}
	unix.Sync()
	return (mountPoint{"", "/", "", unix.MS_REMOUNT | unix.MS_RDONLY, ""}).mount()
}

// tune settles what the kubelet and kube-proxy check or need.
func (n *Node) tune() error {
	for key, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/bridge/bridge-nf-call-iptables": "1", "vm/overcommit_memory": "1", "kernel/panic": "10",
		"kernel/panic_on_oops": "1", "fs/inotify/max_user_instances": "8192", "fs/inotify/max_user_watches": "524288",
	} {
		if err := os.WriteFile("/proc/sys/"+key, []byte(value), 0o644); err != nil {
			return fmt.Errorf("set %s: %w", key, err)
		}
	}
	// The kubelet refuses to start without a line that user-mode Linux does not have.
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return err
	}
	if err := os.WriteFile("/run/cpuinfo", append([]byte("cpu MHz\t\t: 2000.000\n"), info...), 0o444); err != nil {
		return err
	}
	return mountPoint{"/run/cpuinfo", "/proc/cpuinfo", "", bind, ""}.mount()
}

func (n *Node) network() error {
	commands := [][]string{
		{"address", "add", n.IP, "dev", "vec0"}, {"link", "set", "vec0", "up"}, {"route", "add", "default", "via", n.Gateway},
	}
	for network, via := range n.Routes {
		commands = append(commands, []string{"route", "add", network, "via", via})
	}
	for _, args := range commands {
		if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	return nil
}

func (n *Node) writeFiles() error {
	for link, target := range n.Links {
		if err := os.Symlink(target, link); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	for path, content := range n.Files {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// serve starts the services one after the other and keeps them running.
func (n *Node) serve() error {
	for i, s := range n.Services {
		if err := s.keepRunning(); err != nil {
			return err
		}
		if s.Wait != "" {
			if err := waitForFile(s.Wait); err != nil {
				return err
			}
		}
		if i == 0 {
			if err := n.importImages(); err != nil {
				return err
			}
		}
	}
	fmt.Fprintln(os.Stderr, "guest: all services started")
	select {}
}

func (s Service) keepRunning() error {
	log, err := openSerial(s.Log)
	if err != nil {
		return err
	}
	go func() {
		for {
			cmd := exec.Command(s.Args[0], s.Args[1:]...)
			cmd.Stdout, cmd.Stderr = log, log
			err := cmd.Run()
			fmt.Fprintf(log, "%s ended: %v; starting it again\n", s.Name, err)
			time.Sleep(time.Second)
		}
	}()
	return nil
}

func waitForFile(path string) error {
	for range 600 {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New(path + " does not appear")
}

// importImages imports what was not imported at an earlier start: containerd keeps images on the node's disk.
func (n *Node) importImages() error {
	const done = "/var/lib/imported"
	if err := os.MkdirAll(done, 0o755); err != nil {
		return err
	}
	for _, image := range n.Images {
		mark := filepath.Join(done, filepath.Base(image))
		if _, err := os.Stat(mark); err == nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		out, err := exec.CommandContext(ctx, "ctr", "-n", "k8s.io", "images", "import", image).CombinedOutput()
		cancel()
		if err != nil {
			return fmt.Errorf("import %s: %w: %s", image, err, out)
		}
		if err := os.WriteFile(mark, nil, 0o644); err != nil {
			return err
		}
	}
	return nil
}
