// Package child is the process that makes a system call which may wait for an NFS server: a process can be killed, a
// thread of the plugin cannot. It is the plugin's own binary under another name, for there is one binary in the image.
//
// A program of this size takes longer to initialize its packages than to mount. The language initializes packages in
// order of their import paths, each after those that it imports; so this one, which imports almost nothing, takes its
// turn before nearly all others, and the process ends there.
package child

import (
	"os"
	"strconv"
	"syscall"
)

// Name is the child's first argument, instead of the program's path; ps(1) shows it, and which mount hangs.
const Name = "nfs-operator-mount"

// Program is what to execute.
const Program = "/proc/self/exe"

// Operation is what the child does; Request says with which arguments.
type Operation string

const (
	// NFS mounts source at target.
	NFS Operation = "mount"
	// Bind makes source visible at target, with the flags if there are any.
	Bind Operation = "bind"
	// Flag sets flags of the bind mount at target.
	Flag Operation = "flag"
	// Unmount takes away the last mount at target.
	Unmount Operation = "unmount"
	// Detach takes the last mount at target out of sight, whoever uses it; the file system lives on until nobody does.
	Detach Operation = "detach"
	// Force does the same, and fails all requests of the file system that wait for its server.
	Force Operation = "force"
	// Usage asks the file system at target how full it is.
	Usage Operation = "usage"
)

// Request is what a child is to do.
type Request struct {
	Op     Operation
	Target string
	Source string
	Flags  uintptr
	Data   string
	Host   string // hostname under which to do it, in a UTS namespace of the child's own; empty: as it is
}

// Args is the child's argument vector.
func (r Request) Args() []string {
	return []string{Name, string(r.Op), r.Target, r.Source, strconv.FormatUint(uint64(r.Flags), 10), r.Data, r.Host}
}

// Result is what a child says: the error number of its system call, and of Usage what statfs(2) says: block size,
// blocks, free blocks, blocks free for users, inodes, free inodes.
type Result struct {
	Errno  syscall.Errno
	Values [6]uint64
}

// String is what the child writes to its standard output.
func (r Result) String() string {
	text := strconv.Itoa(int(r.Errno))
	for _, v := range r.Values {
		text += " " + strconv.FormatUint(v, 10)
	}
	return text
}

func init() {
	if len(os.Args) == 0 || os.Args[0] != Name {
		return
	}
	result, ok := run(os.Args)
	if !ok {
		os.Exit(2)
	}
	_, _ = os.Stdout.WriteString(result.String())
	os.Exit(0)
}

func run(args []string) (Result, bool) {
	if len(args) != 7 {
		return Result{}, false
	}
	flags, err := strconv.ParseUint(args[4], 10, 64)
	if err != nil {
		return Result{}, false
	}
	r := Request{Op: Operation(args[1]), Target: args[2], Source: args[3], Flags: uintptr(flags), Data: args[5], Host: args[6]}
	var result Result
	if r.Op == Usage {
		result.Values, err = usage(r.Target)
	} else {
		err = r.do()
	}
	if err == nil {
		return result, true
	}
	var ok bool
	result.Errno, ok = err.(syscall.Errno) //nolint:errorlint // package errors is not wanted here, and nothing is wrapped
	return result, ok
}

func usage(path string) ([6]uint64, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(path, &s); err != nil {
		return [6]uint64{}, err
	}
	return [6]uint64{uint64(s.Frsize), s.Blocks, s.Bfree, s.Bavail, s.Files, s.Ffree}, nil // not negative
}

// Flags of umount2(2); package syscall has none of them.
const (
	mntForce       = 0x1 // MNT_FORCE
	mntDetach      = 0x2 // MNT_DETACH
	umountNoFollow = 0x8 // UMOUNT_NOFOLLOW
)

func (r Request) do() error {
	switch r.Op {
	case NFS:
		if r.Host != "" {
			if err := syscall.Sethostname([]byte(r.Host)); err != nil {
				return err
			}
		}
		return syscall.Mount(r.Source, r.Target, "nfs4", r.Flags, r.Data)
	case Bind:
		return r.bind()
	case Flag:
		return syscall.Mount("", r.Target, "", syscall.MS_BIND|syscall.MS_REMOUNT|r.Flags, "")
	case Unmount:
		return syscall.Unmount(r.Target, umountNoFollow)
	case Detach:
		return syscall.Unmount(r.Target, mntDetach|umountNoFollow)
	case Force:
		return syscall.Unmount(r.Target, mntForce|mntDetach|umountNoFollow)
	default:
		return syscall.ENOSYS
	}
}

// bind takes two system calls, for the first ignores all flags.
func (r Request) bind() error {
	if err := syscall.Mount(r.Source, r.Target, "", syscall.MS_BIND, ""); err != nil || r.Flags == 0 {
		return err
	}
	err := Request{Op: Flag, Target: r.Target, Flags: r.Flags}.do()
	if err != nil {
		_ = syscall.Unmount(r.Target, umountNoFollow)
	}
	return err
}
