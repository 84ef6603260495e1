package child

import (
	"syscall"
	"testing"
)

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, args := range [][]string{nil, {Name}, {Name, "mount", "/t", "s", "x", ""}} {
		if errno, ok := run(args); ok {
			t.Errorf("%v: %v", args, errno)
		}
	}
	if errno, ok := run(Request{Op: "format", Target: "/"}.Args()); !ok || errno != syscall.ENOSYS {
		t.Errorf("unknown operation: %v, %v", errno, ok)
	}
}
