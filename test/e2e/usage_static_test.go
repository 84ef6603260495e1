//go:build e2e

package e2e

import (
	"fmt"
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func retaining(s *v1alpha1.StorageProfileSpec) {
	s.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain
}

// staticVolume is a PersistentVolume with nothing but a handle, and what else a test wants in its spec.
func (e *env) staticVolume(name, handle, spec string) {
	e.t.Helper()
	e.apply(fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: 64Mi}
  accessModes: [ReadWriteMany]
  %s
  csi: {driver: %s, volumeHandle: %s}
`, name, spec, names.Driver, handle))
	e.atEnd("delete", "persistentvolume", name, "--ignore-not-found", "--wait=false")
}

func volumeNamed(name string) func(*corev1.PersistentVolumeClaimSpec) {
	return func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName = name; ofClass("")(s) }
}

// TestStaticVolume takes a volume whose PersistentVolume is gone back into use with a PV written by hand: its handle
// is enough. When that one's policy is Delete, deleting its claim deletes the volume.
func TestStaticVolume(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newClaim("old", ofClass(e.profile("retain", retaining))), newPod("a", "old"))
	e.ready("a")
	e.shell("a", "echo kept > /data/file")
	pv := e.bound("old")
	handle := e.get("pv/"+pv, "{.spec.csi.volumeHandle}")
	e.do("delete", "pod", "a", "--timeout=600s")
	e.do("delete", "pvc", "old", "--timeout=600s")
	e.do("delete", "pv", pv, "--timeout=600s")

	static := e.name("static")
	e.staticVolume(static, handle, "mountOptions: [acdirmin=11]\n  persistentVolumeReclaimPolicy: Retain")
	e.create(newClaim("new", volumeNamed(static)), newPod("b", "new"))
	e.ready("b")
	if got := e.shell("b", "cat /data/file"); got != "kept" {
		t.Errorf("the static volume holds %q", got)
	}
	if got := e.shell("b", "grep ' /data ' /proc/mounts"); !strings.Contains(got, "acdirmin=11") {
		t.Errorf("the mount option of the PersistentVolume is not in %q", got)
	}
	e.do("delete", "pod", "b", "--timeout=600s")
	e.do("delete", "pvc", "new", "--timeout=600s")

	// Its owner wants it gone now: a PV with policy Delete and the annotation that external-provisioner looks for.
	e.do("delete", "pv", static, "--timeout=600s")
	e.staticVolume(static, handle, "persistentVolumeReclaimPolicy: Delete")
	e.do("annotate", "pv", static, "pv.kubernetes.io/provisioned-by="+names.Driver)
	e.create(newClaim("last", volumeNamed(static)))
	e.bound("last")
	e.do("delete", "pvc", "last", "--timeout=600s")
	e.do("wait", "--for=delete", "--timeout=600s", "pv/"+static)
	if got := e.server("ls /data/volumes"); strings.Contains(got, path.Base(handle)) {
		t.Errorf("volume %s is still on the server", handle)
	}
}

// TestUnknownHandle is a PV for a volume that does not exist: the pod says so, and can be deleted.
func TestUnknownHandle(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	static := e.name("static")
	e.staticVolume(static, "shared/0/aaaaaaaaaaaaaaaa", "persistentVolumeReclaimPolicy: Retain")
	e.create(newClaim("data", volumeNamed(static)), newPod("a", "data"))
	e.event("pod/a", "aaaaaaaaaaaaaaaa")
	e.do("delete", "pod", "a", "--timeout=600s")
}

// TestRetain: policy Retain keeps PV and data; a new claim takes them over when the old claim is struck out of the PV.
func TestRetain(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("retain", retaining)
	e.create(newClaim("first", ofClass(class)), newPod("a", "first"))
	e.ready("a")
	e.shell("a", "echo kept > /data/file")
	pv := e.bound("first")
	e.do("delete", "pod", "a", "--timeout=600s")
	e.do("delete", "pvc", "first", "--timeout=600s")
	e.await("the PV is Released", is("Released"), "get", "pv", pv, "-o", "jsonpath={.status.phase}")

	e.do("patch", "pv", pv, "--type=json", "-p", `[{"op":"remove","path":"/spec/claimRef"}]`)
	e.create(newClaim("second", ofClass(class), func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeName = pv }), newPod("b", "second"))
	e.ready("b")
	if got := e.shell("b", "cat /data/file"); got != "kept" {
		t.Errorf("the retained volume holds %q", got)
	}
	// To leave nothing behind: from now on it is deleted with its claim.
	e.do("patch", "pv", pv, "-p", `{"spec":{"persistentVolumeReclaimPolicy":"Delete"}}`)
}

// TestDelete: policy Delete, and the volume is gone from the server with its claim.
func TestDelete(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newClaim("data"))
	pv := e.bound("data")
	id := path.Base(e.get("pv/"+pv, "{.spec.csi.volumeHandle}"))
	e.await("by-claim leads to volume "+id, func(got string) bool { return path.Base(got) == id },
		"-n", systemNamespace, "exec", serverPod, "--", "readlink", "/data/by-claim/"+e.Namespace+"/data")
	e.do("delete", "pvc", "data", "--timeout=600s")
	e.do("wait", "--for=delete", "--timeout=600s", "pv/"+pv)
	if got := e.server("ls /data/volumes /data/by-claim"); strings.Contains(got, id) || strings.Contains(got, e.Namespace) {
		t.Errorf("the server still has the volume or its name:\n%s", got)
	}
}

func TestMountOptionsOfClass(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("options", func(s *v1alpha1.StorageProfileSpec) { s.MountOptions = []string{"acregmin=7", "timeo=150"} })
	e.create(newClaim("data", ofClass(class)), newPod("a", "data"))
	e.ready("a")
	got := e.shell("a", "grep ' /data ' /proc/mounts")
	for _, option := range []string{"vers=4.2", "hard", "acregmin=7"} {
		if !strings.Contains(got, option) {
			t.Errorf("%s is not in the mount %q", option, got)
		}
	}
}

func TestWaitForFirstConsumer(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("late", func(s *v1alpha1.StorageProfileSpec) {
		s.VolumeBindingMode = storagev1.VolumeBindingWaitForFirstConsumer
	})
	e.create(newClaim("data", ofClass(class)))
	e.event("pvc/data", "waiting for first consumer")
	if phase := e.get("pvc/data", "{.status.phase}"); phase != "Pending" {
		t.Fatalf("the claim is %s before any pod uses it", phase)
	}
	node := e.nodes()[1]
	e.create(newPod("a", "data", on(node)))
	e.ready("a")
	if got := e.get("pvc/data", `{.metadata.annotations.volume\.kubernetes\.io/selected-node}`); got != node {
		t.Errorf("the selected node is %q, want %s", got, node)
	}
}
