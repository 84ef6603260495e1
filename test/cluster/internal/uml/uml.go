// Package uml starts user-mode Linux: a Linux kernel as an ordinary program, from Debian's package of that name. It has what
// the kernels of containers and small test machines often lack: the NFS client, XFS with quota, overlayfs, netfilter.
package uml

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

const (
	program     = "linux.uml"
	modulesRoot = "/usr/lib/uml/modules"
)

// ErrNotInstalled means that the kernel is not on this machine.
var ErrNotInstalled = errors.New("user-mode Linux is not installed: apt-get install user-mode-linux")

// Machine is a virtual machine whose root is the host's own file system.
type Machine struct {
	Init     string          // the program that runs as process 1, a path on the host
	Env      []string        // KEY=value for Init; the kernel's command line carries it, so neither spaces nor long values
	Memory   string          // as the kernel's mem= takes it: 1G, 512M
	ReadOnly bool            // the host's file system cannot be written through the machine's root
	Disks    []string        // image files: /dev/ubda, /dev/ubdb and so on
	FirstDev byte            // letter of the first disk, 'a' by default
	Shared   map[byte]string // image files, by letter, that other machines use at the same time
	Tap      string          // TAP device of the network interface vec0; none when empty
	MAC      string          // hardware address of vec0
	Console  *os.File        // where the kernel's messages go
	Serial   []*os.File
	Netns    string // start it in this network namespace; the caller's when empty
	RunDir   string // directory for the control socket that the kernel makes
	Detached bool   // survives the caller; otherwise it is killed together with it
}

// Installed tells whether the kernel is there.
func Installed() error {
	if _, err := exec.LookPath(program); err != nil {
		return ErrNotInstalled
	}
	return nil
}

// Start boots the machine. The command it returns leads a process group of its own: killing that group is a power cut.
func (m Machine) Start() (*exec.Cmd, error) {
	if err := Installed(); err != nil {
		return nil, err
	}
	argv := append([]string{program}, m.arguments()...)
	if m.Netns != "" {
		argv = append([]string{"ip", "netns", "exec", m.Netns}, argv...)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = m.Console, m.Console
	cmd.ExtraFiles = m.Serial
	cmd.Env = append(os.Environ(), "TMPDIR="+MemoryDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if !m.Detached {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	return cmd, nil
}

func (m Machine) arguments() []string {
	mode := "rw"
	if m.ReadOnly {
		mode = "ro"
	}
	args := []string{
		"mem=" + m.Memory, "root=/dev/root", "rootfstype=hostfs", "rootflags=/", mode, "init=" + m.Init,
		"con=null", "con0=null,fd:1", "panic=-1", "uml_dir=" + m.RunDir + "/", "umid=m",
	}
	first := m.FirstDev
	if first == 0 {
		first = 'a'
	}
	for i, disk := range m.Disks {
		args = append(args, fmt.Sprintf("ubd%c=%s", first+byte(i), disk))
	}
	for letter, disk := range m.Shared {
		// c: without the lock by which a machine keeps others from its disks.
		args = append(args, fmt.Sprintf("ubd%cc=%s", letter, disk))
	}
	for i := range m.Serial {
		args = append(args, fmt.Sprintf("ssl%d=null,fd:%s", i, strconv.Itoa(3+i)))
	}
	if m.Tap != "" {
		args = append(args, fmt.Sprintf("vec0:transport=tap,ifname=%s,mac=%s,depth=128,gro=1", m.Tap, m.MAC))
	}
	return append(args, m.Env...)
}

// MemoryDir is where the kernel keeps the machine's memory, an unlinked file: a tmpfs if there is one, for on a disk every
// page that the machine touches would be written out.
func MemoryDir() string {
	mounts, err := os.ReadFile("/proc/mounts")
	if err == nil && strings.Contains(string(mounts), " /dev/shm tmpfs ") {
		return "/dev/shm"
	}
	return os.TempDir()
}
