package mount

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

type operation string

const (
	opNFS     operation = "mount"
	opBind    operation = "bind"
	opUnmount operation = "unmount"
	opLoad    operation = "load"
)

// request is what a child is to do. It is an argument of the child's command line, so that ps(1) shows which mount
// hangs.
type request struct {
	Op      operation `json:"op"`
	Source  string    `json:"source,omitempty"`
	Target  string    `json:"target"`
	Flags   uintptr   `json:"flags,omitempty"`
	Data    string    `json:"data,omitempty"`
	Present bool      `json:"present,omitempty"` // the bind mount exists, only its flags are to be set
}

// RunChild does one request. A system call's error goes to stdout as a number, so that the parent can tell one from
// another; any other error is returned.
func RunChild(text string, stdout io.Writer) error {
	var r request
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		return fmt.Errorf("parse request: %w", err)
	}
	err := r.do()
	if errno := syscall.Errno(0); errors.As(err, &errno) {
		if _, writeErr := io.WriteString(stdout, strconv.Itoa(int(errno))); writeErr != nil {
			return writeErr
		}
	}
	return err
}

func (r request) do() error {
	switch r.Op {
	case opNFS:
		return unix.Mount(r.Source, r.Target, "nfs4", r.Flags, r.Data)
	case opBind:
		return r.bind()
	case opUnmount:
		return unix.Unmount(r.Target, unix.UMOUNT_NOFOLLOW)
	case opLoad:
		return load()
	default:
		return fmt.Errorf("unknown operation %q", r.Op)
	}
}

// bind takes two system calls, for the first ignores all flags.
func (r request) bind() error {
	if !r.Present {
		if err := unix.Mount(r.Source, r.Target, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if r.Flags == 0 {
		return nil
	}
	err := unix.Mount("", r.Target, "", unix.MS_BIND|unix.MS_REMOUNT|r.Flags, "")
	if err != nil && !r.Present {
		return errors.Join(err, unix.Unmount(r.Target, unix.UMOUNT_NOFOLLOW))
	}
	return err
}
