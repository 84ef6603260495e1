package server

import (
	"errors"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const dropAgain = "NFS_OPERATOR_TEST_DROP_AGAIN"

// TestAProgramThatHasBegunAnewDropsItsCapabilitiesAgain: execve(2) leaves nothing of what the bounding set has not, CAP_SETPCAP among it.
func TestAProgramThatHasBegunAnewDropsItsCapabilitiesAgain(t *testing.T) {
	if os.Getenv(dropAgain) != "" {
		if err := dropCapabilities(); err != nil {
			t.Error(err)
		}
		return
	}
	type started struct {
		output []byte
		err    error
	}
	done := make(chan started)
	go func() {
		runtime.LockOSThread() // it has lost capabilities, and ends with the goroutine
		for _, c := range []uintptr{unix.CAP_MKNOD, unix.CAP_SETPCAP} {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
				done <- started{nil, err}
				return
			}
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env = append(os.Environ(), dropAgain+"=1")
		output, err := cmd.CombinedOutput()
		done <- started{output, err}
	}()
	if s := <-done; errors.Is(s.err, unix.EPERM) {
		t.Skip("needs CAP_SETPCAP")
	} else if s.err != nil {
		t.Errorf("%v: %s", s.err, s.output)
	}
}
