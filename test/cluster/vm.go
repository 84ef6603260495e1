package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
	"github.com/nfs-operator/nfs-operator/test/cluster/internal/uml"
)

// vmModules are loaded in a machine that runs one command. XFS and ext4 are built into the kernel.
var vmModules = []string{"ipv6", "loop", "quota_v2", "fuse", "overlay", "sunrpc", "nfs", "nfsv3", "nfsv4", "nfsd"}

const vmTimeout = 124 // exit code of a command that took too long, as timeout(1) has it

type vmOptions struct {
	disks   []string
	memory  string
	timeout time.Duration
	command []string
}

func vmCommand(args []string) error {
	if len(args) == 0 || args[0] != "run" {
		return exitError{2, "usage: cluster vm run [flags] -- COMMAND ARGS..."}
	}
	var o vmOptions
	flags := flag.NewFlagSet("vm run", flag.ContinueOnError)
	flags.Func("disk", "image `file`, or size (10G) of a blank disk that is removed afterwards; repeatable: /dev/ubdb, /dev/ubdc, ...", func(s string) error {
		o.disks = append(o.disks, s)
		return nil
	})
	flags.StringVar(&o.memory, "mem", "1G", "memory of the machine")
	flags.DurationVar(&o.timeout, "timeout", 10*time.Minute, "kill the machine after this time, with exit code 124")
	if err := flags.Parse(args[1:]); err != nil {
		return exitError{2, ""}
	}
	if o.command = flags.Args(); len(o.command) == 0 {
		return exitError{2, "vm run: no command"}
	}
	if err := uml.Installed(); err != nil {
		ctx, stop := interruptible()
		defer stop()
		if err := ensurePackages(ctx, newProgress(), vmPackages); err != nil {
			return err
		}
	}
	runtime.LockOSThread() // the machine dies with the thread that started it
	code, err := o.run()
	if err != nil {
		return err
	}
	return exitError{code: code}
}

// run boots a machine, and returns the exit code of the command.
func (o vmOptions) run() (int, error) {
	// Not os.TempDir(): that may lie on a tmpfs which the machine covers with its own.
	dir, err := os.MkdirTemp("/var/tmp", "nfs-operator-vm-")
	if err != nil {
		return 0, fmt.Errorf("make a directory for the machine: %w", err)
	}
	defer os.RemoveAll(dir)
	disks, err := o.makeDisks(dir)
	if err != nil {
		return 0, err
	}
	specFile := filepath.Join(dir, "spec.json")
	if err := o.writeSpec(specFile); err != nil {
		return 0, err
	}
	console, err := os.Create(filepath.Join(dir, "console.log"))
	if err != nil {
		return 0, err
	}
	defer console.Close()
	self, err := os.Executable()
	if err != nil {
		return 0, err
	}
	machine := uml.Machine{
		Init: self, Env: []string{guest.SpecVariable + "=" + specFile}, Memory: o.memory,
		Disks: disks, FirstDev: 'b', Console: console, RunDir: dir,
	}
	return o.runMachine(machine)
}

func (o vmOptions) writeSpec(path string) error {
	modules, err := uml.ModuleFiles(vmModules)
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	return guest.Spec{
		Hostname: "vm", Modules: modules,
		Command: &guest.Command{Args: o.command, Env: os.Environ(), Dir: here},
	}.Write(path)
}

var diskSize = regexp.MustCompile(`^([0-9]+)([MGT])$`)

func (o vmOptions) makeDisks(dir string) ([]string, error) {
	var files []string
	for i, d := range o.disks {
		size, err := parseSize(d)
		if err != nil { // not a size: a file
			path, err := filepath.Abs(d)
			if err != nil {
				return nil, err
			}
			if _, err := os.Stat(path); err != nil {
				return nil, fmt.Errorf("disk: neither a size such as 10G nor a file: %w", err)
			}
			files = append(files, path)
			continue
		}
		path := filepath.Join(dir, fmt.Sprintf("disk-%d.img", i))
		if err := makeDisk(path, size); err != nil {
			return nil, err
		}
		files = append(files, path)
	}
	return files, nil
}

func parseSize(s string) (int64, error) {
	m := diskSize.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size such as 512M or 10G", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 32)
	return n << map[string]int{"M": 20, "G": 30, "T": 40}[m[2]], err
}

// makeDisk makes a sparse image; one that is there already keeps its content.
func makeDisk(path string, size int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		return fmt.Errorf("make disk: %w", err)
	}
	return nil
}

// runMachine starts the machine, copies the command's output, and waits for its end.
func (o vmOptions) runMachine(m uml.Machine) (int, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer signal.Stop(signals)

	var result bytes.Buffer
	var copies sync.WaitGroup
	for _, to := range []io.Writer{os.Stdout, os.Stderr, &result} {
		r, w, err := os.Pipe()
		if err != nil {
			return 0, err
		}
		defer w.Close()
		m.Serial = append(m.Serial, w)
		copies.Go(func() { _, _ = io.Copy(to, r) })
	}
	cmd, err := m.Start()
	if err != nil {
		return 0, err
	}
	for _, w := range m.Serial {
		w.Close()
	}
	ended := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the kernel's own exit code says nothing about the command
		killGroup(cmd.Process.Pid)
		copies.Wait()
		close(ended)
	}()
	go keepAwake(cmd.Process.Pid, ended)
	select {
	case <-ended:
	case <-time.After(o.timeout):
		killGroup(cmd.Process.Pid)
		<-ended
		return vmTimeout, exitError{vmTimeout, fmt.Sprintf("vm run: killed after %s\n%s", o.timeout, tail(m.Console.Name()))}
	case s := <-signals:
		killGroup(cmd.Process.Pid)
		<-ended
		return 128 + int(s.(syscall.Signal)), nil
	}
	code, err := strconv.Atoi(strings.TrimSpace(result.String()))
	if err != nil {
		return 0, errors.New("vm run: the machine ended before the command did; its console:\n" + tail(m.Console.Name()))
	}
	return code, nil
}

// killGroup kills a machine: the kernel's process and those that stand for the guest's.
func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// tail returns the last lines of a log for an error message.
func tail(path string) string {
	const lines = 30
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(data), "\r\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
