//go:build e2e && long

// Package failure breaks servers and nodes of a real cluster under pods that hold open files and locks, and says how long
// they waited. `hack/test failure` brings the cluster up; E2E_KUBECONFIG, E2E_KUBECTL, E2E_CLUSTER_TOOL and
// E2E_CLUSTER name it.
package failure

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// Generous: user-mode Linux stalls when the machine is busy.
const (
	short = 2 * time.Minute
	long  = 6 * time.Minute
)

// cluster is the one under test.
type cluster struct {
	story.Kubectl
	tool, name string
}

func setting(name string) string { return os.Getenv("E2E_" + name) }

var installed = sync.OnceValue(func() error {
	c := newCluster()
	s := story.Story{Kubectl: c.Kubectl, Repository: "../.."}
	_, err := s.Install(context.Background())
	return err
})

func newCluster() cluster {
	return cluster{
		Kubectl: story.Kubectl{Program: setting("KUBECTL"), Kubeconfig: setting("KUBECONFIG"), Namespace: "default"},
		tool:    setting("CLUSTER_TOOL"), name: setting("CLUSTER"),
	}
}

// setUp returns the cluster with the operator on it.
func setUp(t *testing.T) cluster {
	t.Helper()
	c := newCluster()
	if c.Program == "" || c.Kubeconfig == "" || c.tool == "" || c.name == "" {
		t.Fatal("E2E_KUBECONFIG, E2E_KUBECTL, E2E_CLUSTER_TOOL and E2E_CLUSTER name the cluster: run `hack/test failure`")
	}
	if err := installed(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(c.Diagnose())
		}
	})
	return c
}

// must runs kubectl.
func (c cluster) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := c.Run(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c cluster) apply(t *testing.T, manifest string) {
	t.Helper()
	if _, err := c.RunInput(t.Context(), manifest, "apply", "--server-side", "-f", "-"); err != nil {
		t.Fatal(err)
	}
}

// await repeats a question until it is answered without an error.
func await(t *testing.T, timeout time.Duration, what string, ask func() error) {
	t.Helper()
	begin := time.Now()
	for {
		err := ask()
		if err == nil {
			return
		}
		if time.Since(begin) > timeout {
			t.Fatalf("%s: not within %s: %v", what, timeout, err)
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(time.Second):
		}
	}
}

// node runs a verb of the cluster tool: `node VERB NODE ARGS...`.
func (c cluster) node(t *testing.T, verb, node string, args ...string) string {
	t.Helper()
	out, err := c.tryNode(verb, node, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func (c cluster) tryNode(verb, node string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(c.tool, append([]string{"node", "--name", c.name, verb, node}, args...)...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("cluster node %s %s %s: %w: %s", verb, node, strings.Join(args, " "), err, stderr.String())
	}
	return strings.TrimSpace(stdout.String()), nil
}

func (c cluster) nodes(t *testing.T) []string {
	t.Helper()
	return strings.Fields(c.must(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
}

// otherNode is a node that is not this one.
func (c cluster) otherNode(t *testing.T, node string) string {
	t.Helper()
	for _, n := range c.nodes(t) {
		if n != node {
			return n
		}
	}
	t.Fatal("the cluster has one node only")
	return ""
}

// nodeReady is whether the kubelet says so, and since when.
func (c cluster) nodeReady(t *testing.T, node string) bool {
	t.Helper()
	return c.must(t, "get", "node", node, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].status}`) == "True"
}

// server is the pod of a backend's only shard.
type server struct {
	cluster
	backend string
}

func (s server) pod() string { return names.Shard(s.backend, 0) + "-0" }

func (s server) system(args ...string) []string {
	return append([]string{"-n", names.DefaultNamespace}, args...)
}

func (s server) field(t *testing.T, path string) string {
	t.Helper()
	return s.must(t, s.system("get", "pod", s.pod(), "-o", "jsonpath="+path)...)
}

func (s server) node(t *testing.T) string { t.Helper(); return s.field(t, "{.spec.nodeName}") }

// newBackend makes an NFSBackend, its server on the node if one is given, and a class of the same name, and waits until
// it serves.
func (c cluster) newBackend(t *testing.T, name, class, node string) server {
	t.Helper()
	selector := "{}"
	if node != "" {
		selector = "{kubernetes.io/hostname: " + node + "}"
	}
	c.apply(t, fmt.Sprintf(`apiVersion: storage.nfs-operator.io/v1alpha1
kind: NFSBackend
metadata: {name: %[1]s}
spec:
  server:
    nodeSelector: %[3]s
    storage:
      volumeClaimTemplate: {storageClassName: %[2]s, size: 4Gi}
---
apiVersion: storage.nfs-operator.io/v1alpha1
kind: StorageProfile
metadata: {name: %[1]s}
spec:
  backendRef: {name: %[1]s}
`, name, class, selector))
	c.must(t, "wait", "--for=condition=Ready", "--timeout=600s", "nfsbackend/"+name, "storageprofile/"+name, "nfsdriver/default")
	return server{c, name}
}

// serving waits until the server's pod is another one than before (none: any) and Ready.
func (s server) serving(t *testing.T, before string) {
	t.Helper()
	await(t, long, "server "+s.pod()+" serves", func() error {
		out, err := s.Run(t.Context(), s.system("get", "pod", s.pod(), "-o", `jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status} {.metadata.deletionTimestamp}`)...)
		if err != nil {
			return err
		}
		if f := strings.Fields(out); len(f) != 2 || f[0] == before || f[1] != "True" {
			return fmt.Errorf("uid and readiness are %q, was %q", out, before)
		}
		return nil
	})
}
