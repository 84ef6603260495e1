package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/uml"
)

// built is what the cache holds for a cluster.
type built struct {
	kubernetes string   // directory of the programs
	images     []string // archives
	template   string   // disk with which a node starts
}

// buildAll fills the cache.
func buildAll(ctx context.Context, p *progress) (b built, err error) {
	if b.kubernetes, err = kubernetes.build(ctx, p); err != nil {
		return b, err
	}
	if b.images, err = buildImages(ctx, p); err != nil {
		return b, err
	}
	b.template, err = nodeTemplate(ctx, p, b.images)
	return b, err
}

// interruptible returns a context that ends with Ctrl-C: every step looks at it, so that the deferred clean-up runs.
func interruptible() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
}

func upCommand(args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	name := nameFlag(flags)
	want := cluster{}
	flags.IntVar(&want.Nodes, "nodes", 1, "number of nodes; a running cluster can grow")
	flags.StringVar(&want.Memory, "mem", "3G", "memory of a node")
	flags.IntVar(&want.Disks, "disks", 2, "raw block devices of a node")
	flags.StringVar(&want.DiskSize, "disk-size", "10G", "size of a raw block device (sparse)")
	flags.StringVar(&want.Shared, "shared-disk", "", "size of one more raw block device that all nodes reach; none when empty")
	flags.IntVar(&want.ControllerQPS, "controller-qps", defaultControllerQPS, "requests a second that kube-controller-manager may make; can be changed")
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return exitError{2, ""}
	}
	if err := requireRoot(); err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	unlock, err := lockCluster(*name)
	if err != nil {
		return err
	}
	defer unlock()
	c, err := load(*name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		want.Name = *name
		if err := want.check(); err != nil {
			return err
		}
		c = &want
	case err != nil:
		return err
	default:
		if err := c.compare(want, flags); err != nil {
			return err
		}
	}
	p := newProgress()
	if err := c.up(ctx, p); err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return exitError{130, fmt.Sprintf("interrupted; `cluster up --name %s` goes on from here, `cluster down --name %s` removes it", c.Name, c.Name)}
		}
		return err
	}
	c.summary(p)
	return nil
}

func (c *cluster) check() error {
	if c.Nodes < 1 || c.Nodes > maxNodes {
		return fmt.Errorf("--nodes: 1 to %d", maxNodes)
	}
	if c.ControllerQPS < 1 {
		return errors.New("--controller-qps: at least 1")
	}
	if c.Disks < 0 || c.Disks > maxDisks {
		return fmt.Errorf("--disks: 0 to %d", maxDisks)
	}
	sizes := []string{c.Memory, c.DiskSize}
	if c.Shared != "" {
		sizes = append(sizes, c.Shared)
	}
	for _, size := range sizes {
		if _, err := parseSize(size); err != nil {
			return err
		}
	}
	return nil
}

// compare accepts more nodes and another limit for a cluster that exists, and refuses other settings than it was made with.
func (c *cluster) compare(want cluster, flags *flag.FlagSet) error {
	given := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if given["mem"] && want.Memory != c.Memory || given["disks"] && want.Disks != c.Disks || given["disk-size"] && want.DiskSize != c.DiskSize ||
		given["shared-disk"] && want.Shared != c.Shared {
		return fmt.Errorf("cluster %s exists with nodes of %s memory, %d disks of %s, shared disk %q: take it down first", c.Name, c.Memory, c.Disks, c.DiskSize, c.Shared)
	}
	if given["controller-qps"] && want.ControllerQPS != c.controllerQPS() {
		c.ControllerQPS = want.ControllerQPS
		if err := c.kill("kube-controller-manager"); err != nil { // `up` starts it again
			return err
		}
	}
	if given["nodes"] {
		if want.Nodes < c.Nodes {
			return fmt.Errorf("cluster %s has %d nodes and does not shrink: take it down first", c.Name, c.Nodes)
		}
		if want.Nodes > maxNodes {
			return fmt.Errorf("--nodes: 1 to %d", maxNodes)
		}
		c.Nodes = want.Nodes
	}
	return nil
}

// up makes, step by step, what is missing. Each step leaves alone what is there already, so that it also repairs.
func (c *cluster) up(ctx context.Context, p *progress) error {
	var b built
	var k kubectl
	steps := []struct {
		name string
		do   func() error
	}{
		{"Packages", func() error { return ensurePackages(ctx, p, clusterPackages) }},
		{"Kubernetes " + kubernetesVersion, func() (err error) { b.kubernetes, err = kubernetes.build(ctx, p); return err }},
		{"Images", func() (err error) { b.images, err = buildImages(ctx, p); return err }},
		{"Node disk", func() (err error) { b.template, err = nodeTemplate(ctx, p, b.images); return err }},
		{"Settings, certificates, network", func() error { return c.prepare(ctx) }},
		{"Start nodes", func() error { return c.startNodes(ctx, b) }},
		{"Control plane", func() error { return c.ensureControlPlane(ctx, b.kubernetes) }},
		{"Addons", func() error { k = c.kubectl(b.kubernetes); return c.installAddons(ctx, k) }},
		{"Nodes ready", func() error { return c.waitForNodes(ctx, k) }},
		{"Addons available", func() error { return waitForAddons(ctx, k) }},
	}
	for _, s := range steps {
		if err := p.do(s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}

// prepare makes all that needs no running process.
func (c *cluster) prepare(ctx context.Context) error {
	if err := os.MkdirAll(c.imagesDir(), 0o755); err != nil {
		return err
	}
	if c.Token == "" {
		if err := c.allocate(); err != nil {
			return err
		}
	} else if err := c.save(); err != nil {
		return err
	}
	if err := c.ensurePKI(); err != nil {
		return err
	}
	return c.ensureNetwork(ctx)
}

func (c *cluster) startNodes(ctx context.Context, b built) error {
	if err := c.copyInit(); err != nil {
		return err
	}
	if err := c.ensureClocks(); err != nil {
		return err
	}
	for n := 1; n <= c.Nodes; n++ {
		if c.nodeRunning(n) {
			continue
		}
		if err := c.checkMemory(); err != nil {
			return err
		}
		if err := c.startNode(ctx, n, b); err != nil {
			return err
		}
	}
	return nil
}

// copyInit keeps a copy of this program for the nodes: the one that `go run` made is removed when it ends.
func (c *cluster) copyInit() error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return copyFile(self, c.initProgram())
}

// checkMemory says beforehand that a node's memory has no room: the kernel would only die of a bus error later.
func (c *cluster) checkMemory() error {
	var s unix.Statfs_t
	if err := unix.Statfs(uml.MemoryDir(), &s); err != nil {
		return err
	}
	need, err := parseSize(c.Memory)
	if err != nil {
		return err
	}
	if free := int64(s.Bavail) * s.Bsize; free < need {
		return fmt.Errorf("a node needs %s of memory, but %s has only %d MiB of room", c.Memory, uml.MemoryDir(), free>>20)
	}
	return nil
}

func (c *cluster) waitForNodes(ctx context.Context, k kubectl) error {
	for n := 1; n <= c.Nodes; n++ {
		if err := c.waitForNode(ctx, n, k); err != nil {
			return err
		}
	}
	return c.finishNodes(ctx, k)
}

func (c *cluster) summary(p *progress) {
	option := ""
	if c.Name != defaultName {
		option = " --name " + c.Name
	}
	p.table(os.Stdout)
	fmt.Printf("\nCluster %s is up: %d nodes.\n  export KUBECONFIG=%s\n  take it down: cluster down%s\n", c.Name, c.Nodes, c.kubeconfig(), option)
}
