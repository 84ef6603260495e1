package guest

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// stageVariable marks the child of process 1 that does the work.
const stageVariable = "VM_STAGE"

// InGuest tells whether this process was started as process 1 of a machine, or is its child.
func InGuest() bool {
	return os.Getenv(SpecVariable) != "" && (os.Getpid() == 1 || os.Getenv(stageVariable) != "")
}

// Main runs in the guest and does not return.
func Main() {
	if os.Getenv(stageVariable) != "" {
		if err := work(); err != nil {
			fmt.Fprintln(os.Stderr, "guest:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	reap()
}

// reap is process 1: it starts the worker, collects every process that ends (also those that lost their parent, which is why the
// worker is a process of its own: os/exec would miss its children's exit codes), and powers off when the worker has ended.
func reap() {
	// Not /proc/self/exe: as long as /proc is not mounted, the host's shows through, and there "self" is the kernel.
	worker, err := os.StartProcess(os.Args[0], []string{"init"}, &os.ProcAttr{
		Env: append(os.Environ(), stageVariable+"=worker"), Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
	})
	if err != nil {
		fmt.Fprintln(os.Stderr, "guest: start worker:", err)
		powerOff()
	}
	for {
		pid, err := syscall.Wait4(-1, nil, 0, nil)
		if pid == worker.Pid || err == syscall.ECHILD {
			powerOff()
		}
	}
}

func powerOff() {
	unix.Sync()
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	select {}
}

func work() error {
	spec, err := readSpec(os.Getenv(SpecVariable))
	if err != nil {
		return err
	}
	if err := unix.Sethostname([]byte(spec.Hostname)); err != nil {
		return fmt.Errorf("set hostname: %w", err)
	}
	if err := mountKernelFilesystems(); err != nil {
		return err
	}
	loadModules(spec.Modules)
	// All modules are loaded now, and where the kernel would look for another there is none. Not to look at all saves 0.1 s
	// each time that iptables asks for an extension, and so half a minute until kube-proxy has set its rules.
	if err := os.WriteFile("/proc/sys/kernel/modprobe", []byte("\n"), 0o644); err != nil {
		return fmt.Errorf("switch off the loading of modules: %w", err)
	}
	if err := linkUp("lo"); err != nil {
		return err
	}
	files := unix.Rlimit{Cur: 1 << 20, Max: 1 << 20}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &files); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	if spec.Node != nil {
		return spec.Node.run()
	}
	return spec.Command.run()
}

// loadModules does not stop at one that fails: what needed it will say so more clearly.
func loadModules(files []string) {
	for _, file := range files {
		f, err := os.Open(file)
		if err == nil {
			err = unix.FinitModule(int(f.Fd()), "", 0)
			f.Close()
		}
		if err != nil && !errors.Is(err, unix.EEXIST) {
			fmt.Fprintf(os.Stderr, "guest: load %s: %v\n", file, err)
		}
	}
}

func linkUp(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return fmt.Errorf("open socket: %w", err)
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	if err := unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, request); err != nil {
		return fmt.Errorf("bring %s up: %w", name, err)
	}
	return nil
}
