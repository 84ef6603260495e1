//go:build e2e && long

package e2e

import (
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// newNAS is an NFS server that knows nothing of volumes: a static export of a backend of our own, for everybody, without
// squash.
func newNAS() *v1alpha1.NFSBackend {
	return newBackend(func(s *v1alpha1.NFSBackendSpec) {
		s.DeletionPolicy = v1alpha1.DeletionDelete
		s.Server.Exports = []v1alpha1.StaticExport{{
			Name: "share", Size: resource.MustParse("2Gi"), Squash: "None", AnonymousUID: 65534, AnonymousGID: 65534,
			Clients: []v1alpha1.ExportClient{{CIDR: "0.0.0.0/0", Access: v1alpha1.ExportReadWrite}},
		}}
	})
}

// newShare is the external backend on it, by its name in the cluster's DNS.
func newShare(nas *v1alpha1.NFSBackend) *v1alpha1.NFSBackend {
	return &v1alpha1.NFSBackend{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NFSBackend"},
		ObjectMeta: metav1.ObjectMeta{Name: "x" + nas.Name},
		Spec: v1alpha1.NFSBackendSpec{External: &v1alpha1.ExternalServer{
			Server: names.Shard(nas.Name, 0) + "." + systemNamespace + ".svc.cluster.local", Path: "/e-share",
		}},
	}
}

// TestExternalBackend takes a share of another NFS server into use and lets go of it again.
func TestExternalBackend(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nas := newNAS()
	share := newShare(nas)
	onNAS := func(script string) string {
		t.Helper()
		return e.do("-n", systemNamespace, "exec", names.Shard(nas.Name, 0)+"-0", "--", "sh", "-c", "cd /data/exports/share && "+script)
	}
	object := "nfsbackend/" + share.Name
	ready := func() { t.Helper(); e.do("wait", "--for=condition=Ready", "--timeout=600s", object) }
	e.create(nas)
	e.do("wait", "--for=condition=Ready", "--timeout=600s", "nfsbackend/"+nas.Name)
	e.create(share)
	ready()
	lacks := e.get(object, "{.status.limitations[*].capability}")
	for _, capability := range []string{"Quota", "Fencing", "Squash"} {
		if !strings.Contains(lacks, capability) {
			t.Errorf("the share lacks %q, and not %s", lacks, capability)
		}
	}

	class := e.profile("share", onBackend(share.Name), retaining)
	e.create(newClaim("data", ofClass(class)), newPod("a", "data", on(e.nodes()[0])), newPod("b", "data", on(e.nodes()[1])))
	e.ready("a", "b")
	e.shell("a", "echo kept > /data/file && chown 1234:1234 /data/file && sync /data/file")
	if got := e.shell("b", "cat /data/file; stat -c %u /data/file"); got != "kept\n1234" {
		t.Errorf("the other node reads %q", got)
	}
	pv := e.bound("data")
	handle := e.get("pv/"+pv, "{.spec.csi.volumeHandle}")
	id := path.Base(handle)
	if handle != share.Name+"/0/"+id {
		t.Errorf("the handle is %q", handle)
	}
	if got := onNAS("cat volumes/" + id + "/file"); got != "kept" {
		t.Errorf("the file on the NFS server has %q", got)
	}
	e.do("wait", "--for=condition=InUse=True", "--timeout=600s", object)
	if message := e.refused("", "delete", object, "--wait=false"); !strings.Contains(message, "in use") {
		t.Errorf("deleting a backend that holds a volume is refused with %q", message)
	}

	e.replaceAgent(share.Name, func() {
		if got := e.shell("a", "echo more >> /data/file && sync /data/file && cat /data/file"); got != "kept\nmore" {
			t.Errorf("without its agent the volume has %q", got)
		}
	})
	ready()

	// The claim goes, the data stay, and come back under another claim.
	e.do("delete", "pod", "a", "b", "--timeout=600s")
	e.do("delete", "pvc", "data", "--timeout=600s")
	e.do("delete", "pv", pv, "--timeout=600s")
	static := e.name("static")
	e.staticVolume(static, handle, "persistentVolumeReclaimPolicy: Delete")
	e.do("annotate", "pv", static, "pv.kubernetes.io/provisioned-by="+names.Driver)
	e.create(newClaim("again", volumeNamed(static)), newPod("c", "again"))
	e.ready("c")
	if got := e.shell("c", "cat /data/file"); got != "kept\nmore" {
		t.Errorf("the volume that came back has %q", got)
	}
	e.do("delete", "pod", "c", "--timeout=600s")
	e.do("delete", "pvc", "again", "--timeout=600s")
	e.do("wait", "--for=delete", "--timeout=600s", "pv/"+static)
	if got := onNAS("ls volumes"); strings.Contains(got, id) {
		t.Errorf("the deleted volume is still there: %s", got)
	}

	e.do("wait", "--for=condition=InUse=False", "--timeout=600s", object)
	e.do("delete", object, "--timeout=600s")
	if left := e.do("-n", systemNamespace, "get", "deployment,service,pod,secret,configmap", "-l", names.LabelBackend+"="+share.Name, "-o", "name"); left != "" {
		t.Errorf("the deleted backend left %s", left)
	}
	if got := onNAS("cat .nfs-operator/server.json"); !strings.Contains(got, share.Name) {
		t.Errorf("the share does not say any more whose it is: %s", got)
	}
	onNAS("rm -rf .nfs-operator *")
	e.do("wait", "--for=condition=InUse=False", "--timeout=600s", "nfsbackend/"+nas.Name)
	e.do("delete", "nfsbackend/"+nas.Name, "--timeout=600s")
	e.do("-n", systemNamespace, "wait", "--for=delete", "pvc/"+names.DataClaim(nas.Name, 0), "--timeout=600s")
	e.releaseDisks(nas.Name)
}

// replaceAgent deletes the agent's pod, does something meanwhile, and waits for the next.
func (e *env) replaceAgent(backend string, meanwhile func()) {
	e.t.Helper()
	pods := []string{"-n", systemNamespace, "get", "pods", "-l", names.LabelBackend + "=" + backend, "-o", "jsonpath={.items[*].metadata.name}"}
	former := e.do(pods...)
	e.do("-n", systemNamespace, "delete", "pod", former, "--timeout=600s")
	meanwhile()
	e.await("there is another pod", func(got string) bool { return got != "" && !strings.Contains(got, former) }, pods...)
	e.do("-n", systemNamespace, "rollout", "status", "deployment/"+names.Shard(backend, 0), "--timeout=600s")
}

// TestExternalBackendThatSquashesRoot: the status says what is wrong with a share, and the agent goes on when it is not any more.
func TestExternalBackendThatSquashesRoot(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nas := newNAS()
	share := newShare(nas)
	nas.Spec.Server.Exports[0].Squash = "Root"
	e.create(nas)
	e.do("wait", "--for=condition=Ready", "--timeout=600s", "nfsbackend/"+nas.Name)
	e.create(share)
	e.do("wait", "--for=condition=Stalled", "--timeout=600s", "nfsbackend/"+share.Name)
	if got := e.get("nfsbackend/"+share.Name, `{.status.conditions[?(@.type=="Ready")].reason}`); got != "ShareRootSquashed" {
		t.Errorf("the reason is %q", got)
	}
	nas.Spec.Server.Exports[0].Squash = "None"
	e.create(nas)
	e.do("wait", "--for=condition=Ready", "--timeout=600s", "nfsbackend/"+share.Name)

	class := e.profile("share", onBackend(share.Name))
	e.create(newClaim("once", ofClass(class), withMode(corev1.ReadWriteOnce)), newPod("a", "once"))
	e.ready("a")
	e.shell("a", "touch /data/file")
	e.do("delete", "pod", "a", "--timeout=600s")
	e.do("delete", "pvc", "once", "--timeout=600s")
	e.do("wait", "--for=condition=InUse=False", "--timeout=600s", "nfsbackend/"+share.Name)
	e.do("delete", "nfsbackend/"+share.Name, "--timeout=600s")
	e.do("-n", systemNamespace, "exec", names.Shard(nas.Name, 0)+"-0", "--", "sh", "-c", "cd /data/exports/share && rm -rf .nfs-operator *")
	e.do("wait", "--for=condition=InUse=False", "--timeout=600s", "nfsbackend/"+nas.Name)
	e.do("delete", "nfsbackend/"+nas.Name, "--timeout=600s")
	e.do("-n", systemNamespace, "wait", "--for=delete", "pvc/"+names.DataClaim(nas.Name, 0), "--timeout=600s")
	e.releaseDisks(nas.Name)
}
