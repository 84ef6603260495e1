//go:build e2e

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestReadWriteMany(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nodes := e.nodes()
	e.create(newClaim("data"), newPod("a", "data", on(nodes[0])), newPod("b", "data", on(nodes[1])))
	e.ready("a", "b")
	e.shell("a", "echo from-a > /data/a")
	e.shell("b", "echo from-b > /data/b")
	if got := e.shell("b", "cat /data/a") + " " + e.shell("a", "cat /data/b"); got != "from-a from-b" {
		t.Errorf("the pods read %q of each other", got)
	}
}

func TestReadWriteOnce(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nodes := e.nodes()
	e.create(newClaim("data", withMode(corev1.ReadWriteOnce)), newPod("first", "data", on(nodes[0])))
	e.ready("first")
	e.shell("first", "echo first > /data/file")

	// Several pods of one node are what ReadWriteOnce means in Kubernetes; another node is refused.
	e.create(newPod("beside", "data", on(nodes[0])), newPod("elsewhere", "data", on(nodes[1])))
	e.ready("beside")
	if got := e.shell("beside", "cat /data/file"); got != "first" {
		t.Errorf("the second pod of the node reads %q", got)
	}
	message := e.event("pod/elsewhere", "FailedPrecondition")
	if !strings.Contains(message, nodes[0]) {
		t.Errorf("the event does not name the node that has the volume: %s", message)
	}
	if phase := e.get("pod/elsewhere", "{.status.phase}"); phase != "Pending" {
		t.Errorf("the pod on the second node is %s while the first node has the volume", phase)
	}

	e.do("delete", "pod", "first", "beside", "--timeout=600s")
	e.ready("elsewhere")
	if got := e.shell("elsewhere", "cat /data/file"); got != "first" {
		t.Errorf("the pod on the second node reads %q", got)
	}
}

func TestReadWriteOncePod(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nodes := e.nodes()
	e.create(newClaim("data", withMode(corev1.ReadWriteOncePod)), newPod("first", "data", on(nodes[0])))
	e.ready("first")
	e.shell("first", "echo first > /data/file")

	// The scheduler refuses a second pod; one that names its node comes past the scheduler, to the driver.
	e.create(newPod("second", "data"), newPod("past", "data", func(s *corev1.PodSpec) { s.NodeName = nodes[1] }))
	e.event("pod/second", "ReadWriteOncePod")
	e.event("pod/past", "FailedPrecondition")
	e.do("delete", "pod", "second", "past", "--timeout=600s")

	e.do("delete", "pod", "first", "--timeout=600s")
	e.create(newPod("third", "data"))
	e.ready("third")
	if got := e.shell("third", "cat /data/file"); got != "first" {
		t.Errorf("the next pod reads %q", got)
	}
}

func TestReadOnlyMany(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nodes := e.nodes()
	e.create(newClaim("data", withMode(corev1.ReadOnlyMany)), newPod("a", "data", on(nodes[0])), newPod("b", "data", on(nodes[1])))
	e.ready("a", "b")
	for _, pod := range []string{"a", "b"} {
		if got := e.shell(pod, "touch /data/file 2>&1 || true"); !strings.Contains(got, "Read-only file system") {
			t.Errorf("pod %s writes to a ReadOnlyMany volume: %q", pod, got)
		}
	}
}

// TestReadOnlyPublish mounts one volume read-only into one pod and writable into another of the same node.
func TestReadOnlyPublish(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	node := e.nodes()[0]
	readOnly := func(s *corev1.PodSpec) { s.Volumes[0].PersistentVolumeClaim.ReadOnly = true }
	e.create(newClaim("data"), newPod("reader", "data", on(node), readOnly), newPod("writer", "data", on(node)))
	e.ready("reader", "writer")
	e.shell("writer", "echo content > /data/file")
	if got := e.shell("reader", "cat /data/file; touch /data/other 2>&1 || true"); !strings.HasPrefix(got, "content") || !strings.Contains(got, "Read-only file system") {
		t.Errorf("the reader's mount: %q", got)
	}
	e.shell("writer", "echo more >> /data/file")
}

func TestBlockRefused(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	block := corev1.PersistentVolumeBlock
	e.create(newClaim("data", func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeMode = &block }))
	e.event("pvc/data", "volumeMode Block is not supported")
}
