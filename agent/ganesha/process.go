package ganesha

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a running child.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{}
	err   error // why it ended; valid after ended is closed, never nil
}

var errExited = errors.New("exit status 0")

// start runs a program that dies with the calling thread, its output going to the log. The caller's goroutine must be
// locked to its thread.
func start(reader *logReader, env []string, name string, args ...string) (*process, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = input, input
	err = cmd.Start()
	_ = input.Close()
	if err != nil {
		_ = output.Close()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	drained := make(chan struct{})
	go func() {
		reader.read(output)
		_ = output.Close()
		close(drained)
	}()
	go func() {
		p.err = cmd.Wait()
		if p.err == nil {
			p.err = errExited
		}
		select {
		case <-drained: // so that its last words are known
		case <-time.After(time.Second):
		}
		close(p.ended)
	}()
	return p, nil
}

// kill ends the process and returns when it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only when it has ended
	<-p.ended
}

// waitsForDisk tells whether a thread of a process is in a wait that no signal ends: for a disk, or for a file system that waits for one.
func waitsForDisk(pid int) bool {
	files, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, file := range files {
		if text, err := os.ReadFile(file); err == nil && uninterruptible(string(text)) {
			return true
		}
	}
	return false
}

// uninterruptible reads a thread's state from proc_pid_stat(5). The name before it may hold anything, parentheses, too.
func uninterruptible(stat string) bool {
	return strings.HasPrefix(stat[strings.LastIndexByte(stat, ')')+1:], " D ")
}
