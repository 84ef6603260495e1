// Package child_test imports what the plugin does; the child must not.
package child_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	_ "google.golang.org/grpc"
	_ "k8s.io/client-go/kubernetes/scheme"

	"github.com/nfs-operator/nfs-operator/csi/mount/child"
)

// The test's own binary is the child, too.
func TestBinaryIsTheChildUnderItsName(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Args = child.Request{Op: child.Unmount, Target: missing}.Args()
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	// ENOENT for root, EPERM for others.
	if text := string(out); text != (child.Result{Errno: syscall.ENOENT}).String() && text != (child.Result{Errno: syscall.EPERM}).String() {
		t.Errorf("child says %q", text)
	}
}

// A child that initialized what the plugin imports would take longer than a mount does.
func TestChildInitializesNothingElse(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Args = child.Request{Op: child.Unmount, Target: "/nowhere"}.Args()
	cmd.Env = []string{"GODEBUG=inittrace=1"}
	var trace strings.Builder
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(trace.String()) {
		for _, heavy := range []string{"google.golang.org/protobuf/", "k8s.io/api", "k8s.io/client-go/"} {
			if strings.Contains(line, heavy) {
				t.Errorf("initialized before the child: %s", line)
			}
		}
	}
}

func TestChildRefusesWhatItDoesNotKnow(t *testing.T) {
	tests := map[string]struct {
		args []string
		out  string // nothing where the exit code is not 0
	}{
		"no arguments":      {[]string{child.Name}, ""},
		"flags of letters":  {[]string{child.Name, "mount", "/t", "s", "x", "", ""}, ""},
		"unknown operation": {child.Request{Op: "format", Target: "/"}.Args(), child.Result{Errno: syscall.ENOSYS}.String()},
	}
	for name, test := range tests {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Args = test.args
		out, err := cmd.Output()
		if string(out) != test.out || (err == nil) != (test.out != "") {
			t.Errorf("%s: %q, %v", name, out, err)
		}
	}
}
