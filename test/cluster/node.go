package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
	"github.com/nfs-operator/nfs-operator/test/cluster/internal/uml"
)

// nodeModules are what the kubelet, kube-proxy, containerd and pods need of the kernel. Without iptable_mangle kube-proxy
// programs nothing; without loop the kubelet cannot map raw block volumes.
var nodeModules = strings.Fields(`ipv6 loop quota_v2 fuse overlay sunrpc nfs nfsv3 nfsv4 bridge veth br_netfilter nf_conntrack nf_conntrack_netlink
	ip_set xt_set xt_comment xt_conntrack xt_mark xt_addrtype xt_statistic xt_nat xt_recent xt_limit xt_multiport xt_MASQUERADE xt_REDIRECT xt_tcpudp
	xt_connmark nf_nat iptable_nat iptable_filter iptable_mangle iptable_raw ip_tables xt_LOG xt_NFLOG xt_physdev ipt_REJECT xt_owner dummy`)

// nodeServices run on a node, one serial line for the log of each.
var nodeServices = []string{"containerd", "kubelet", "kube-proxy"}

func (c *cluster) nodeRunning(n int) bool {
	_, alive := c.running(nodeName(n))
	return alive
}

// startNode switches the node on.
func (c *cluster) startNode(ctx context.Context, n int, b built) error {
	if err := c.makeNodeDisks(ctx, n, b.template); err != nil {
		return err
	}
	spec, err := c.nodeSpec(n, b)
	if err != nil {
		return err
	}
	specFile := filepath.Join(c.nodeDir(n), "spec.json")
	if err := spec.Write(specFile); err != nil {
		return err
	}
	machine := uml.Machine{
		Init: c.initProgram(), Env: []string{guest.SpecVariable + "=" + specFile}, Memory: c.Memory, ReadOnly: true,
		Disks: c.diskFiles(n), Tap: tapName(n), MAC: fmt.Sprintf("02:00:00:00:00:%02x", n), Netns: c.netns(), RunDir: c.nodeDir(n), Detached: true,
	}
	if c.Shared != "" {
		machine.Shared = map[byte]string{sharedLetter(n): c.sharedDisk()}
	}
	machine.Console, err = openLog(c.consoleLog(n))
	if err != nil {
		return err
	}
	defer machine.Console.Close()
	for _, service := range nodeServices {
		log, err := openLog(filepath.Join(c.nodeDir(n), service+".log"))
		if err != nil {
			return err
		}
		defer log.Close()
		machine.Serial = append(machine.Serial, log)
	}
	cmd, err := machine.Start()
	if err != nil {
		return err
	}
	return c.record(nodeName(n), cmd)
}

// sharedDevice is where every node sees the disk that all nodes reach, whatever its number there.
const sharedDevice = "/dev/shared"

func (c *cluster) sharedDisk() string { return c.path("shared.img") }

// sharedLetter gives the shared disk another device number on each node, as it happens on real ones. The kernel has 16 letters.
func sharedLetter(n int) byte { return byte('b' + maxDisks + n%8) }

// diskFiles are the node's own disk and its raw block devices.
func (c *cluster) diskFiles(n int) []string {
	files := []string{filepath.Join(c.nodeDir(n), "root.img")}
	for i := range c.Disks {
		files = append(files, filepath.Join(c.nodeDir(n), fmt.Sprintf("disk-%c.img", 'b'+i)))
	}
	return files
}

func (c *cluster) makeNodeDisks(ctx context.Context, n int, template string) error {
	if err := os.MkdirAll(c.nodeDir(n), 0o755); err != nil {
		return err
	}
	size, err := parseSize(c.DiskSize)
	if err != nil {
		return err
	}
	files := c.diskFiles(n)
	for _, file := range files[1:] {
		if err := makeDisk(file, size); err != nil {
			return err
		}
	}
	if c.Shared != "" {
		size, err := parseSize(c.Shared)
		if err != nil {
			return err
		}
		if err := makeDisk(c.sharedDisk(), size); err != nil {
			return err
		}
	}
	if _, err := os.Stat(files[0]); err == nil {
		return nil
	}
	if err := run(ctx, "cp", "--sparse=always", "--reflink=auto", template, files[0]+".tmp"); err != nil {
		return err
	}
	return os.Rename(files[0]+".tmp", files[0])
}

// Where nodes see archives of images: those that every node has, and those that were loaded into them.
const (
	nodeImages       = "/opt/images/base"
	nodeLoadedImages = "/opt/images/loaded"
)

func onNodes(images []string) []string {
	var paths []string
	for _, image := range images {
		paths = append(paths, filepath.Join(nodeImages, filepath.Base(image)))
	}
	return paths
}

var containerdService = guest.Service{
	Name: "containerd", Args: []string{"containerd", "--config", "/etc/containerd/config.toml"},
	Log: "/dev/ttyS0", Wait: "/run/containerd/containerd.sock",
}

func (c *cluster) nodeSpec(n int, b built) (guest.Spec, error) {
	modules, err := uml.ModuleFiles(nodeModules)
	if err != nil {
		return guest.Spec{}, err
	}
	files, err := c.nodeFiles(n)
	if err != nil {
		return guest.Spec{}, err
	}
	node := &guest.Node{
		IP: nodeIP(n) + "/24", Gateway: controlPlaneIP, Routes: map[string]string{}, Token: c.Token, Disk: "/dev/ubda",
		Binds: map[string]string{
			b.kubernetes:                        "/opt/kubernetes/bin",
			filepath.Join(cacheDir(), "images"): nodeImages,
			c.imagesDir():                       nodeLoadedImages,
		},
		Files: files,
	}
	if c.Shared != "" {
		node.Links = map[string]string{sharedDevice: fmt.Sprintf("/dev/ubd%c", sharedLetter(n))}
	}
	for other := 1; other <= maxNodes; other++ {
		if other != n {
			node.Routes[nodePodCIDR(other)] = nodeIP(other)
		}
	}
	node.Images = onNodes(b.images)
	node.Services = []guest.Service{
		containerdService,
		{Name: "kubelet", Args: []string{
			"kubelet", "--config=/etc/kubernetes/kubelet.yaml", "--kubeconfig=/etc/kubernetes/kubelet.conf",
			"--hostname-override=" + nodeName(n), "--node-ip=" + nodeIP(n),
		}, Log: "/dev/ttyS1"},
		{Name: "kube-proxy", Args: []string{
			"kube-proxy", "--kubeconfig=/etc/kubernetes/kube-proxy.conf", "--proxy-mode=iptables", "--cluster-cidr=" + podCIDR,
			"--hostname-override=" + nodeName(n), "--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0",
		}, Log: "/dev/ttyS2"},
	}
	return guest.Spec{Hostname: nodeName(n), Modules: modules, Node: node}, nil
}

// stopNode cuts the node's power.
func (c *cluster) stopNode(n int) error { return c.kill(nodeName(n)) }

// execNode runs a command on the node.
func (c *cluster) execNode(n int, args []string, stdout, stderr *os.File) (int, error) {
	conn, err := c.dialNode(n)
	if err != nil {
		return 0, fmt.Errorf("reach %s: %w (is it running?)", nodeName(n), err)
	}
	defer conn.Close()
	return guest.Exec(conn, c.Token, args, stdout, stderr)
}

// dialNode connects from inside the cluster's network namespace: nodes are not reachable from outside.
func (c *cluster) dialNode(n int) (net.Conn, error) {
	var conn net.Conn
	err := inNamespace("/run/netns/"+c.netns(), func() error {
		fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		f := os.NewFile(uintptr(fd), "node")
		defer f.Close()
		limit := syscall.Timeval{Sec: 5}
		if err := syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_SNDTIMEO, &limit); err != nil {
			return err
		}
		address := &syscall.SockaddrInet4{Port: controlPort, Addr: [4]byte(net.ParseIP(nodeIP(n)).To4())}
		if err := syscall.Connect(fd, address); err != nil {
			return os.NewSyscallError("connect", err)
		}
		conn, err = net.FileConn(f)
		return err
	})
	return conn, err
}

// waitForNode waits until the kubelet of this boot says Ready: after a power cut the API has the old answer for a while. When it
// does not come it says more than "timeout".
func (c *cluster) waitForNode(ctx context.Context, n int, kubectl kubectl) error {
	boot := ""
	err := waitFor(ctx, 4*time.Minute, nodeName(n)+" to be Ready", func() (err error) {
		if !c.nodeRunning(n) {
			return errors.New("its machine ended")
		}
		if boot == "" {
			boot, err = c.onNode(n, "cat", "/proc/sys/kernel/random/boot_id")
			if err != nil {
				return err
			}
		}
		out, err := kubectl.run(ctx, nil, "get", "node", nodeName(n), "-o",
			`jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.nodeInfo.bootID}`)
		if err != nil {
			return err
		}
		if want := "True " + strings.TrimSpace(boot); out != want {
			return fmt.Errorf("ready and boot id are %q, not %q", out, want)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w\nthe end of %s:\n%s", err, c.consoleLog(n), tail(c.consoleLog(n)))
	}
	return nil
}
