package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A machine's kernel sets one alarm after the other. On a busy host one gets lost once in a while, and no other follows it: a machine that sleeps
// never wakes up, and on one that works, whoever has its CPU keeps it for ever. So somebody rings beside it. An alarm that nobody has set does nothing.
const ringEvery = time.Second

// clocks is the name of the daemon that rings for the nodes of a cluster.
const clocks = "clocks"

func (c *cluster) ensureClocks() error {
	if _, alive := c.running(clocks); alive {
		return nil
	}
	return c.startDaemon(clocks, c.initProgram(), clocks, "--name", c.Name)
}

// clocksCommand is the daemon. `down` ends it.
func clocksCommand(args []string) error {
	flags := flag.NewFlagSet(clocks, flag.ContinueOnError)
	name := nameFlag(flags)
	if err := flags.Parse(args); err != nil || flags.NArg() > 0 {
		return exitError{2, ""}
	}
	c, err := existing(*name)
	if err != nil {
		return err
	}
	for range time.Tick(ringEvery) {
		nodes, err := filepath.Glob(c.pidFile("node-*"))
		if err != nil {
			return err
		}
		for _, file := range nodes {
			if p, alive := c.running(strings.TrimSuffix(filepath.Base(file), ".json")); alive {
				ring(p.PID)
			}
		}
	}
	return nil
}

// keepAwake rings for one machine until it has ended.
func keepAwake(pid int, ended <-chan struct{}) {
	tick := time.NewTicker(ringEvery)
	defer tick.Stop()
	for {
		select {
		case <-ended:
			return
		case <-tick.C:
			ring(pid)
		}
	}
}

func ring(pid int) {
	if catches(pid, syscall.SIGALRM) { // not yet, it would end the machine
		_ = syscall.Kill(pid, syscall.SIGALRM)
	}
}

var caughtSignals = regexp.MustCompile(`(?m)^SigCgt:\s*([0-9a-f]+)$`)

// catches tells whether a process has a handler for a signal.
func catches(pid int, s syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := caughtSignals.FindSubmatch(status)
	if err != nil || m == nil {
		return false
	}
	caught, err := strconv.ParseUint(string(m[1]), 16, 64)
	return err == nil && caught&(1<<(s-1)) != 0
}
