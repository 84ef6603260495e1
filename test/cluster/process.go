package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// process is a daemon that we started. The start time tells it from a later process with the same number.
type process struct {
	PID   int
	Start string // clock ticks after boot
}

func (c *cluster) pidFile(name string) string { return c.path("pids", name+".json") }

// running returns the daemon of that name if it is alive.
func (c *cluster) running(name string) (process, bool) {
	var p process
	data, err := os.ReadFile(c.pidFile(name))
	if err != nil || json.Unmarshal(data, &p) != nil {
		return p, false
	}
	start, alive := startTime(p.PID)
	return p, alive && start == p.Start
}

// record remembers a process that was just started, and reaps it should it end while we run.
func (c *cluster) record(name string, cmd *exec.Cmd) error {
	start, _ := startTime(cmd.Process.Pid)
	go func() { _ = cmd.Wait() }()
	data, err := json.Marshal(process{PID: cmd.Process.Pid, Start: start})
	if err != nil {
		return err
	}
	return writeFile(c.pidFile(name), data, 0o600)
}

// startDaemon starts a program in the cluster's network namespace that outlives us.
func (c *cluster) startDaemon(name string, argv ...string) error {
	log, err := openLog(c.logFile(name))
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("ip", append([]string{"netns", "exec", c.netns()}, argv...)...)
	cmd.Stdout, cmd.Stderr, cmd.Dir = log, log, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	return c.record(name, cmd)
}

// kill ends the daemon and its process group at once, and waits until it is gone.
func (c *cluster) kill(name string) error {
	p, alive := c.running(name)
	if alive {
		killGroup(p.PID)
		if err := waitFor(context.Background(), 20*time.Second, name+" to end", func() error {
			if _, alive := c.running(name); alive {
				return errors.New("still there")
			}
			return nil
		}); err != nil {
			return err
		}
	}
	if err := os.Remove(c.pidFile(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// startTime reads field 22 of /proc/PID/stat; a zombie counts as gone.
func startTime(pid int) (string, bool) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", false
	}
	return parseStat(string(data))
}

func parseStat(stat string) (start string, alive bool) {
	// The name, in parentheses, may contain anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 {
		return "", false
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X"
}

func openLog(path string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	return os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
}

// run executes a command and puts what it printed into the error.
func run(ctx context.Context, name string, args ...string) error {
	_, err := output(ctx, nil, name, args...)
	return err
}

func output(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(name), strings.Join(args, " "), err, strings.TrimSpace(errs.String()+out.String()))
	}
	return out.String(), nil
}

// waitFor calls check until it returns nil.
func waitFor(ctx context.Context, limit time.Duration, what string, check func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w (last: %w)", what, context.Cause(ctx), err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}
