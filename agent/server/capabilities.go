package server

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// dropCapabilities keeps CAP_MKNOD from what is started from now on: with it, root in a pod could make device nodes on its volumes. The
// pod has it for one node, and CAP_SETPCAP for this. A program that has begun anew has neither, and may not drop even what it has not.
func dropCapabilities() error {
	for _, c := range []uintptr{unix.CAP_MKNOD, unix.CAP_SETPCAP} {
		if has, err := unix.PrctlRetInt(unix.PR_CAPBSET_READ, c, 0, 0, 0); err == nil && has == 0 {
			continue
		}
		if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0); errno != 0 {
			return fmt.Errorf("drop capability %d: %w", c, errno)
		}
	}
	return nil
}
