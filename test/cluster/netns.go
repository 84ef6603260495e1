package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// A cluster lives in a network namespace of its own: a bridge with the control plane's address on it and one TAP device for
// each node. A veth pair with a subnet of two addresses leads to it from outside, for kubectl and tests. Nothing
// leaves it: what the nodes send to any address but its own is refused at once, so that a connection to a Service that kube-proxy
// does not know yet fails and is tried again, instead of being lost in the connection tracking of the node for half a minute.
const bridge = "br0"

func (c *cluster) netnsExists() bool {
	_, err := os.Stat("/run/netns/" + c.netns())
	return err == nil
}

// ensureNetwork makes what is missing.
func (c *cluster) ensureNetwork(ctx context.Context) error {
	if c.netnsExists() && c.inNetns(ctx, "link", "show", "complete") == nil {
		return c.ensureTaps(ctx)
	}
	if err := c.removeNetwork(ctx); err != nil { // an interrupted `up` made half of it
		return err
	}
	if err := run(ctx, "ip", "netns", "add", c.netns()); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"link", "set", "lo", "up"},
		{"link", "add", bridge, "type", "bridge"},
		{"address", "add", controlPlaneIP + "/24", "dev", bridge},
		{"link", "set", bridge, "up"},
		{"link", "add", "host0", "type", "veth", "peer", "name", c.veth(), "netns", strconv.Itoa(os.Getpid())},
		{"address", "add", c.apiServerIP() + "/30", "dev", "host0"},
		{"link", "set", "host0", "up"},
	} {
		if err := c.inNetns(ctx, args...); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"address", "add", c.hostIP() + "/30", "dev", c.veth()},
		{"link", "set", c.veth(), "up"},
	} {
		if err := run(ctx, "ip", args...); err != nil {
			return err
		}
	}
	// The API server calls webhooks and aggregated APIs at their pods.
	for n := 1; n <= maxNodes; n++ {
		if err := c.inNetns(ctx, "route", "add", nodePodCIDR(n), "via", nodeIP(n)); err != nil {
			return err
		}
	}
	for _, args := range [][]string{
		{"rule", "add", "pref", "100", "iif", bridge, "unreachable"}, {"rule", "add", "pref", "100", "iif", "host0", "unreachable"},
	} { // the table of local addresses comes before
		if err := c.inNetns(ctx, args...); err != nil {
			return err
		}
	}
	if err := run(ctx, "ip", "netns", "exec", c.netns(), "sysctl", "-qw", "net.ipv4.ip_forward=1"); err != nil {
		return err
	}
	// A mark that everything above was made.
	if err := c.inNetns(ctx, "link", "add", "complete", "type", "bridge"); err != nil {
		return err
	}
	return c.ensureTaps(ctx)
}

func (c *cluster) ensureTaps(ctx context.Context) error {
	for n := 1; n <= c.Nodes; n++ {
		if c.inNetns(ctx, "link", "show", tapName(n)) == nil {
			continue
		}
		if err := c.inNetns(ctx, "tuntap", "add", tapName(n), "mode", "tap"); err != nil {
			return err
		}
		if err := c.inNetns(ctx, "link", "set", tapName(n), "up"); err != nil {
			return err
		}
		if err := c.connect(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// connect plugs the node's cable in, disconnect pulls it: the node itself notices nothing of either.
func (c *cluster) connect(ctx context.Context, n int) error {
	return c.inNetns(ctx, "link", "set", tapName(n), "master", bridge)
}

func (c *cluster) disconnect(ctx context.Context, n int) error {
	return c.inNetns(ctx, "link", "set", tapName(n), "nomaster")
}

func (c *cluster) connected(ctx context.Context, n int) bool {
	out, err := output(ctx, nil, "ip", "-n", c.netns(), "link", "show", tapName(n))
	return err == nil && strings.Contains(out, "master "+bridge)
}

// removeNetwork removes the namespace with all its processes and interfaces.
func (c *cluster) removeNetwork(ctx context.Context) error {
	if !c.netnsExists() {
		return nil
	}
	if out, err := output(ctx, nil, "ip", "netns", "pids", c.netns()); err == nil {
		for pid := range strings.FieldsSeq(out) { // started, but not recorded yet when we were interrupted
			_ = run(ctx, "kill", "-9", pid)
		}
	}
	// The pair disappears with the namespace, but only some time after.
	if err := run(ctx, "ip", "link", "delete", c.veth()); err != nil && !strings.Contains(err.Error(), "Cannot find device") {
		return err
	}
	if err := run(ctx, "ip", "netns", "delete", c.netns()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (c *cluster) inNetns(ctx context.Context, args ...string) error {
	return run(ctx, "ip", append([]string{"-n", c.netns()}, args...)...)
}

func interfaceAddresses() ([]netip.Addr, error) {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	var addresses []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil {
			addresses = append(addresses, p.Addr())
		}
	}
	return addresses, nil
}
