//go:build e2e

// Package e2e runs against a real cluster: E2E_KUBECONFIG and E2E_KUBECTL name it. `make test-e2e` brings one up. See
// README.md.
package e2e

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// repository is where the manifests under test lie.
const repository = "../.."

// kubectl reaches the cluster under test, in a namespace.
func kubectl(t *testing.T, namespace string) story.Kubectl {
	t.Helper()
	kubeconfig, program := os.Getenv("E2E_KUBECONFIG"), os.Getenv("E2E_KUBECTL")
	if kubeconfig == "" || program == "" {
		t.Fatal("E2E_KUBECONFIG and E2E_KUBECTL name the cluster: run `make test-e2e`")
	}
	return story.Kubectl{Program: program, Kubeconfig: kubeconfig, Namespace: namespace}
}

var installation struct {
	once sync.Once
	err  error
}

// setUp installs the operator and config/samples, and waits until they are Ready; once, whoever asks first.
func setUp(t *testing.T) {
	t.Helper()
	s := &story.Story{Kubectl: kubectl(t, "default"), Repository: repository}
	installation.once.Do(func() { installation.err = s.SetUp(context.Background()) })
	if installation.err != nil {
		t.Fatalf("setting up: %v\n%s", installation.err, s.Kubectl.Diagnose())
	}
}

// onNode runs a command on a node itself, as root. It skips the test where the cluster is not one of test/cluster.
func onNode(t *testing.T, node string, command ...string) (string, error) {
	t.Helper()
	return clusterTool(t, append([]string{"node", "exec", node, "--"}, command...)...)
}

// clusterTool runs a verb of test/cluster on the cluster under test: "node stop node-1", for instance.
func clusterTool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	tool, name := os.Getenv("E2E_CLUSTER_TOOL"), os.Getenv("E2E_CLUSTER")
	if tool == "" || name == "" {
		t.Skip("E2E_CLUSTER_TOOL and E2E_CLUSTER do not name a cluster of test/cluster: a node's own shell is needed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool, args...)
	cmd.Env = append(os.Environ(), "NFS_OPERATOR_CLUSTER="+name)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
