//go:build e2e && long

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

// TestTwoServersOutliveWhatIsDoneToThem: two servers on two nodes, and a pod that writes to one of them while what it
// needs is deleted, and while both are updated.
func TestTwoServersOutliveWhatIsDoneToThem(t *testing.T) {
	e := newEnv(t)
	e.nodes()
	spec := onDisks(2, "2Gi")
	backend := e.backend(spec)
	e.backendReady(backend)
	if nodes := strings.Fields(e.get("nfsbackend/"+backend, "{.status.shards[*].node}")); len(nodes) != 2 || nodes[0] == nodes[1] {
		t.Errorf("the servers run on %v", nodes)
	}
	class := e.profile("two", func(p *v1alpha1.StorageProfileSpec) { p.BackendRef.Name = backend })
	e.create(newClaim("data", ofClass(class)), newPod("writer", "data"))
	e.bound("data")
	e.create(newClaim("more", ofClass(class), ofSize("1Gi")))
	e.bound("more")
	e.ready("writer")
	if shards := e.shardsOf("data", "more"); shards[0] == shards[1] {
		t.Errorf("both volumes lie on server %s: the second was to go where there is more room", shards[0])
	}
	e.shell("writer", writer)
	e.writesOn("writer", "the start")
	e.await("the backend is in use", is("True"), "get", "nfsbackend", backend, "-o", `jsonpath={.status.conditions[?(@.type=="InUse")].status}`)

	e.tryDeletions(backend, e.shardsOf("data")[0])
	e.replaceNode(e.get("pod/writer", "{.spec.nodeName}"))
	e.update(backend)

	// A deletion in the foreground that was let through: all children go on until the last volume is gone.
	e.do("annotate", "nfsbackend", backend, names.AnnotationAllowDeletion+"="+backend)
	e.do("delete", "nfsbackend", backend, "--cascade=foreground", "--wait=false")
	e.await("the deletion is blocked", is("DeletionBlocked"), "get", "nfsbackend", backend, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].reason}`)
	e.writesOn("writer", "a foreground deletion of the NFSBackend")
	e.allWritten("writer")

	e.do("delete", "pod", "writer", "--timeout=300s")
	e.do("delete", "pvc", "data", "more", "--timeout=300s")
	e.await("the backend is gone when its last volume is", is(""), "get", "nfsbackend", backend, "--ignore-not-found", "-o", "name")
	if claims := strings.Fields(e.do("-n", systemNamespace, "get", "pvc", "-l", names.LabelBackend+"="+backend, "-o", "name")); len(claims) != 2 {
		t.Errorf("of the disks are left: %v", claims)
	}
	e.createBackend(backend, spec)
	e.backendReady(backend)
}

// shardsOf says on which servers the volumes of claims lie.
func (e *env) shardsOf(claims ...string) []string {
	e.t.Helper()
	var shards []string
	for _, claim := range claims {
		handle := e.get("pv/"+e.get("pvc/"+claim, "{.spec.volumeName}"), "{.spec.csi.volumeHandle}")
		shards = append(shards, strings.Split(handle, "/")[1])
	}
	return shards
}

// tryDeletions deletes what a server needs. What is guarded is refused; a Service that is deleted all the same comes back
// with its address.
func (e *env) tryDeletions(backend, shard string) {
	e.t.Helper()
	server := "nfsd-" + shard + "-" + backend
	e.await("the namespace is guarded", is("true"), "get", "namespace", systemNamespace, "-o", `jsonpath={.metadata.labels.storage\.nfs-operator\.io/in-use}`)
	for _, object := range []string{
		"nfsbackend/" + backend, "namespace/" + systemNamespace, "crd/nfsbackends.storage.nfs-operator.io",
		"service/" + server, "pvc/data-" + server,
	} {
		why := e.refused("", "-n", systemNamespace, "delete", object, "--wait=false")
		if !strings.Contains(why, names.AnnotationAllowDeletion) {
			e.t.Errorf("deletion of %s: %s", object, why)
		}
	}
	e.writesOn("writer", "refused deletions")

	address := e.do("-n", systemNamespace, "get", "service", server, "-o", "jsonpath={.spec.clusterIP}")
	e.do("-n", systemNamespace, "annotate", "service", server, names.AnnotationAllowDeletion+"="+server)
	e.do("-n", systemNamespace, "delete", "service", server)
	e.await("the Service is back with its address", is(address), "-n", systemNamespace, "get", "service", server, "--ignore-not-found", "-o", "jsonpath={.spec.clusterIP}")
	e.writesOn("writer", "deletion of the Service")
}

// replaceNode deletes a Node object under running pods, and makes it anew, as an autoscaler or a hasty hand does.
func (e *env) replaceNode(node string) {
	e.t.Helper()
	var object map[string]any
	if err := json.Unmarshal([]byte(e.do("get", "node", node, "-o", "json")), &object); err != nil {
		e.t.Fatal(err)
	}
	meta := object["metadata"].(map[string]any)
	delete(meta, "uid")
	delete(meta, "resourceVersion")
	delete(meta, "managedFields")
	text, err := json.Marshal(object)
	if err != nil {
		e.t.Fatal(err)
	}
	e.do("delete", "node", node, "--wait=true")
	if _, err := e.RunInput(e.t.Context(), string(text), "create", "-f", "-"); err != nil && !strings.Contains(err.Error(), "AlreadyExists") {
		e.t.Fatal(err)
	}
	e.do("wait", "--for=condition=Ready", "--timeout=300s", "node/"+node)
	e.writesOn("writer", "deletion of the Node object")
}

// update changes the configuration of both servers, and watches that they are never away together.
func (e *env) update(backend string) {
	e.t.Helper()
	pods := func() string {
		return e.do("-n", systemNamespace, "get", "pods", "-l", names.LabelBackend+"="+backend, "-o", "jsonpath={.items[*].metadata.uid}")
	}
	before := strings.Fields(pods())
	e.do("patch", "nfsbackend", backend, "--type=merge", "-p", `{"spec":{"server":{"leaseSeconds":20}}}`)
	deadline := time.Now().Add(8 * time.Minute)
	for {
		status := e.get("nfsbackend/"+backend, "{.status.servingShards} {.status.observedGeneration} {.metadata.generation} {.status.shards[*].outdated}")
		if strings.HasPrefix(status, "0/") {
			e.t.Errorf("no server serves: %s", status)
		}
		fields, now := strings.Fields(status), strings.Fields(pods())
		replaced := len(now) == 2 && now[0] != before[0] && now[1] != before[1] && now[0] != before[1] && now[1] != before[0]
		if replaced && len(fields) == 3 && fields[0] == "2/2" && fields[1] == fields[2] {
			break
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("the update does not end: %s", status)
		}
		e.written("writer") // takes a moment, and shows that the pod lives
	}
	e.backendReady(backend)
	e.writesOn("writer", "a rolling update of both servers")
}
