package server

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// flusherVariable keeps a program that has been begun anew from doing so for ever.
const flusherVariable = "NFS_OPERATOR_IO_FLUSHER"

// BecomeIOFlusher makes this process, and the children that it will have, ones that the kernel must not keep waiting for memory that
// only they can free (PR_SET_IO_FLUSHER, prctl(2)): a client on the server's own node writes its dirty pages to this very server. The
// flag is a thread's, and a Go program has several before its first line runs, so the program executes itself once: the new one has a
// single thread then, from which all others inherit. It returns only in the program that goes on; an error says that the kernel
// refused (CAP_SYS_RESOURCE is missing), which is no reason not to serve.
func BecomeIOFlusher() error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if is, err := unix.PrctlRetInt(unix.PR_GET_IO_FLUSHER, 0, 0, 0, 0); err == nil && is == 1 {
		return nil
	}
	err := unix.Prctl(unix.PR_SET_IO_FLUSHER, 1, 0, 0, 0)
	if err == nil && os.Getenv(flusherVariable) != "" {
		err = errors.New("the flag did not last")
	}
	var self string
	if err == nil {
		self, err = os.Executable()
	}
	if err == nil {
		err = unix.Exec(self, os.Args, append(os.Environ(), flusherVariable+"=1"))
	}
	return fmt.Errorf("a client on this server's own node may deadlock when memory is short: PR_SET_IO_FLUSHER: %w (does the pod have CAP_SYS_RESOURCE?)", err)
}
