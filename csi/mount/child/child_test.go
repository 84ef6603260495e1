// Package child_test imports what the plugin does; the child must not.
package child_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	if text := string(out); text != "2" && text != "1" {
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
		if strings.Contains(line, "google.golang.org/") || strings.Contains(line, "k8s.io/") {
			t.Errorf("initialized before the child: %s", line)
		}
	}
}
