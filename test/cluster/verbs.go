package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// parseFor parses a verb's arguments and finds its cluster. Flags may stand before, between and after
// them, up to the point where verbatim says that the rest belongs to someone else.
func parseFor(verb string, args []string, least int, verbatim func(seen []string) bool) (*cluster, []string, error) {
	flags := flag.NewFlagSet(verb, flag.ContinueOnError)
	name := nameFlag(flags)
	var rest []string
	for {
		if err := flags.Parse(args); err != nil {
			return nil, nil, exitError{2, ""}
		}
		if flags.NArg() == 0 {
			break
		}
		rest, args = append(rest, flags.Arg(0)), flags.Args()[1:]
		if verbatim != nil && verbatim(rest) {
			rest = append(rest, args...)
			break
		}
	}
	if len(rest) < least {
		return nil, nil, exitError{2, verb + ": too few arguments"}
	}
	c, err := existing(*name)
	return c, rest, err
}

func kubeconfigCommand(args []string) error {
	c, _, err := parseFor("kubeconfig", args, 0, nil)
	if err == nil {
		fmt.Println(c.kubeconfig())
	}
	return err
}

// statusCommand fails when something that should run does not.
func statusCommand(args []string) error {
	c, _, err := parseFor("status", args, 0, nil)
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	t := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "PART\tSTATE\tPID\tLOG")
	broken := false
	row := func(name, log, note string) {
		p, alive := c.running(name)
		state, pid := "running"+note, strconv.Itoa(p.PID)
		if !alive {
			state, pid, broken = "stopped", "-", true
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", name, state, pid, log)
	}
	for _, d := range c.controlPlane() {
		row(d.name, c.logFile(d.name), "")
	}
	row(clocks, c.logFile(clocks), "")
	for n := 1; n <= c.Nodes; n++ {
		note := ""
		if !c.connected(ctx, n) {
			note = ", disconnected"
		}
		row(nodeName(n), c.consoleLog(n), note)
	}
	t.Flush()
	fmt.Printf("kubeconfig: %s\n", c.kubeconfig())
	if broken {
		return exitError{1, "not everything runs; `cluster up` starts it again"}
	}
	return nil
}

// nodeCommand is `node stop|start|disconnect|connect|exec NODE`.
func nodeCommand(args []string) error {
	c, args, err := parseFor("node", args, 2, func(seen []string) bool { return seen[0] == "exec" && len(seen) == 2 })
	if err != nil {
		return err
	}
	n, err := c.nodeNumber(args[1])
	if err != nil {
		return err
	}
	ctx, stop := interruptible()
	defer stop()
	switch args[0] {
	case "stop":
		return c.stopNode(n)
	case "start":
		return c.restartNode(ctx, n)
	case "disconnect":
		return c.disconnect(ctx, n)
	case "connect":
		return c.connect(ctx, n)
	case "exec":
		return c.execCommand(n, args[2:])
	}
	return exitError{2, "node: stop, start, disconnect, connect or exec"}
}

func (c *cluster) execCommand(n int, args []string) error {
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		return exitError{2, "node exec: no command"}
	}
	code, err := c.execNode(n, args, os.Stdout, os.Stderr)
	if err != nil {
		return err
	}
	return exitError{code: code}
}

// restartNode switches a node on and waits until it is Ready.
func (c *cluster) restartNode(ctx context.Context, n int) error {
	unlock, err := lockCluster(c.Name)
	if err != nil {
		return err
	}
	defer unlock()
	b, err := buildAll(ctx, newProgress())
	if err != nil {
		return err
	}
	if !c.nodeRunning(n) {
		if err := c.startNode(ctx, n, b); err != nil {
			return err
		}
	}
	return c.waitForNode(ctx, n, c.kubectl(b.kubernetes))
}

func (c *cluster) nodeNumber(name string) (int, error) {
	for n := 1; n <= c.Nodes; n++ {
		if name == nodeName(n) || name == strconv.Itoa(n) {
			return n, nil
		}
	}
	return 0, fmt.Errorf("cluster %s has no node %q", c.Name, name)
}

func consoleCommand(args []string) error {
	c, args, err := parseFor("console", args, 1, nil)
	if err != nil {
		return err
	}
	n, err := c.nodeNumber(args[0])
	if err == nil {
		fmt.Println(c.consoleLog(n))
	}
	return err
}

// loadImageCommand imports images into all nodes: archives, or names of images that hack/images/build has put into the cache.
func loadImageCommand(args []string) error {
	c, args, err := parseFor("load-image", args, 1, nil)
	if err != nil {
		return err
	}
	for _, image := range args {
		file, err := findImage(image)
		if err != nil {
			return err
		}
		if err := c.loadImage(file); err != nil {
			return fmt.Errorf("load %s: %w", image, err)
		}
	}
	return nil
}

// findImage returns the archive of an image given by its path or its name.
func findImage(image string) (string, error) {
	cached := cachedImage(image)
	for _, file := range []string{image, cached} {
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() {
			return file, nil
		}
	}
	return "", fmt.Errorf("neither %s nor %s exists", image, cached)
}

func usage(all []verb) string {
	var text strings.Builder
	text.WriteString("usage:\n")
	for _, v := range all {
		fmt.Fprintf(&text, "  cluster %s\n        %s\n", v.usage, v.help)
	}
	return text.String()
}

func findVerb(all []verb, name string) (verb, bool) {
	i := slices.IndexFunc(all, func(v verb) bool { return v.name == name })
	if i < 0 {
		return verb{}, false
	}
	return all[i], true
}
