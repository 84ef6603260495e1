//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// TestBackendDeleted: a backend that holds a volume is not deleted; one that was emptied is, and keeps its disk until
// its deletionPolicy says Delete.
func TestBackendDeleted(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	b := newBackend()
	object, disk := "nfsbackend/"+b.Name, "pvc/"+names.DataClaim(b.Name, 0)
	inSystem := func(args ...string) string {
		t.Helper()
		return e.do(append([]string{"-n", systemNamespace}, args...)...)
	}
	ready := func() { t.Helper(); e.do("wait", "--for=condition=Ready", "--timeout=600s", object) }
	inUse := func(is string) { t.Helper(); e.do("wait", "--for=condition=InUse="+is, "--timeout=600s", object) }

	e.create(b)
	ready()
	e.create(newClaim("data", ofClass(e.profile("own", onBackend(b.Name)))))
	e.bound("data")
	inUse("True")
	if message := e.refused("", "delete", object, "--wait=false"); !strings.Contains(message, "InUse") && !strings.Contains(message, "in use") && !strings.Contains(message, "holds") {
		t.Errorf("deleting a backend that holds a volume is refused with %q", message)
	}
	e.do("delete", "pvc", "data", "--timeout=600s")
	inUse("False")

	server := e.get(object, "{.status.shards[0].serverID}")
	e.do("delete", object, "--timeout=600s")
	if left := inSystem("get", "statefulset,service,pod,secret,configmap", "-l", names.LabelBackend+"="+b.Name, "-o", "name"); left != "" {
		t.Errorf("the deleted backend left %s", left)
	}
	if phase := inSystem("get", disk, "-o", "jsonpath={.status.phase}"); phase != "Bound" {
		t.Errorf("the kept disk's claim is %q", phase)
	}

	b.Spec.DeletionPolicy = v1alpha1.DeletionDelete
	e.create(b)
	ready()
	if got := e.get(object, "{.status.shards[0].serverID}"); got != server {
		t.Errorf("the backend made anew has the server %s, want that of the kept disk, %s", got, server)
	}
	e.do("delete", object, "--timeout=600s")
	inSystem("wait", "--for=delete", disk, "--timeout=600s")
	e.releaseDisks(b.Name)
}
