//go:build e2e && long

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// TestMoreServers: a server is added to a backend under a pod that writes, and another backend to the profile's selection; new volumes go
// where there is most room. A server's node is drained: nothing refuses it, the write waits, and goes on when the node is back.
func TestMoreServers(t *testing.T) {
	e := newEnv(t)
	first := e.labelledBackend("first", 1)
	class := e.profile("pool", func(p *v1alpha1.StorageProfileSpec) {
		p.BackendRef = v1alpha1.BackendReference{}
		p.BackendSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"example.org/pool": v1alpha1.LabelValue(e.Namespace)}}
	})
	e.create(newClaim("data", ofClass(class), ofSize("1Gi")), newPod("writer", "data"))
	e.ready("writer")
	e.shell("writer", writer)
	e.writesOn("writer", "the start")
	pod := names.Shard(first, 0) + "-0"
	uid := []string{"-n", systemNamespace, "get", "pod", pod, "-o", "jsonpath={.metadata.uid}"}
	before := e.do(uid...)

	e.do("patch", "nfsbackend", first, "--type=merge", "-p", `{"spec":{"server":{"shards":2}}}`)
	e.await("both servers serve", is("2/2 True"), "get", "nfsbackend", first, "-o", `jsonpath={.status.servingShards} {.status.conditions[?(@.type=="Ready")].status}`)
	e.writesOn("writer", "a server was added")
	if now := e.do(uid...); now != before {
		t.Error("the first server was replaced when a second was added")
	}
	e.create(newClaim("second", ofClass(class), ofSize("1Gi")))
	if got := e.volumeOf("second"); !strings.HasPrefix(got, first+"/1/") {
		t.Errorf("the next volume lies at %s, and there is most room on the new server", got)
	}

	other := e.labelledBackend("other", 1)
	e.await("the profile selects both", is("2/2"), "get", "storageprofile", class, "-o", "jsonpath={.status.backends}")
	e.create(newClaim("third", ofClass(class)))
	if got := e.volumeOf("third"); !strings.HasPrefix(got, other+"/0/") {
		t.Errorf("the next volume lies at %s, and there is most room on the other backend", got)
	}
	e.create(newPod("user", "third", withVolume("/second", claimVolume("second"))))
	e.ready("user")
	e.shell("user", "echo x > /data/x && echo y > /second/y")
	e.do("delete", "pod", "user", "--timeout=600s")
	e.do("delete", "pvc", "second", "third", "--timeout=600s")

	e.drain(first, before)
	e.allWritten("writer")
	e.do("delete", "pod", "writer", "--timeout=600s")
	e.do("delete", "pvc", "data", "--timeout=600s")
}

// labelledBackend is a backend in the pool of the test.
func (e *env) labelledBackend(suffix string, shards int32) string {
	e.t.Helper()
	name := e.backendNamed(suffix, onDisks(shards, "3Gi"))
	e.do("label", "nfsbackend", name, "example.org/pool="+e.Namespace)
	e.backendReady(name)
	return name
}

// volumeOf is the handle of a claim's volume.
func (e *env) volumeOf(claim string) string {
	e.t.Helper()
	return e.get("pv/"+e.bound(claim), "{.spec.csi.volumeHandle}")
}

// drain evicts the server of shard 0 from its node, as `kubectl drain` does, and lets it come back. uid is that of its pod.
func (e *env) drain(backend, uid string) {
	e.t.Helper()
	server := names.Shard(backend, 0)
	node := e.get("nfsbackend/"+backend, "{.status.shards[0].node}")
	e.await("the disruption budget knows the server", func(got string) bool { return slices.Contains([]string{"1", "2"}, got) },
		"-n", systemNamespace, "get", "poddisruptionbudget", "-l", names.LabelBackend+"="+backend, "-o", "jsonpath={.items[*].status.currentHealthy}")
	e.atEnd("uncordon", node)
	said := e.do("drain", node, "--pod-selector="+names.LabelBackend+"="+backend, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=300s")
	if !strings.Contains(said, "pod/"+server+"-0 evicted") {
		e.t.Errorf("the drain said %s", said)
	}
	if phase := e.get("pod/writer", "{.status.phase}"); phase != "Running" {
		e.t.Errorf("the writer is %s", phase)
	}
	e.do("uncordon", node)
	e.await("another pod serves", func(got string) bool { return strings.HasSuffix(got, " True") && !strings.HasPrefix(got, uid) },
		"-n", systemNamespace, "get", "pod", server+"-0", "--ignore-not-found", "-o", `jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`)
	e.writesOn("writer", fmt.Sprintf("a drain of %s", node))
}
