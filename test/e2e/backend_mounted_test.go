//go:build e2e && long

package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// newMountedDisk is a disk that the kubelet of a node formats and mounts, with all that a server needs, or with ext4, which has little of it.
func newMountedDisk(name, node, device, fstype string, mountOptions ...string) *corev1.PersistentVolume {
	return &corev1.PersistentVolume{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolume"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("3Gi")}, VolumeMode: new(corev1.PersistentVolumeFilesystem),
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			StorageClassName: name, MountOptions: mountOptions,
			PersistentVolumeSource: corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: device, FSType: &fstype}},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node}}},
			}}}},
		},
	}
}

// mountedBackend is a backend on such a disk, a loop device of the node. It serves when this returns.
func (e *env) mountedBackend(node, fstype string, mountOptions ...string) (backend string) {
	e.t.Helper()
	image := "/var/lib/containerd/" + e.Namespace + ".img"
	device, err := onNode(e.t, node, "sh", "-c", "truncate -s 3G "+image+" && losetup --find --show "+image)
	if err != nil || !strings.HasPrefix(device, "/dev/loop") {
		e.t.Fatalf("make a device: %s, %v", device, err)
	}
	e.t.Cleanup(func() { // after the backend, which was made later
		if out, err := onNode(e.t, node, "sh", "-c", "losetup -d "+device+"; rm -f "+image); err != nil {
			e.t.Errorf("clean up: %s, %v", out, err)
		}
	})
	disk := e.name("disk")
	e.atEnd("delete", "pv", disk, "--timeout=300s")
	e.create(newMountedDisk(disk, node, device, fstype, mountOptions...))
	backend = e.backend(v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
		VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{StorageClassName: &disk, Size: resource.MustParse("3Gi"), VolumeMode: corev1.PersistentVolumeFilesystem},
	}}})
	e.backendReady(backend)
	return backend
}

// TestMountedXFS: on an XFS that the kubelet has made and mounted, volumes have sizes and can be cloned, and a writer goes on through a
// restart of the server.
func TestMountedXFS(t *testing.T) {
	e := newEnv(t)
	node := e.nodes()[1]
	backend := e.mountedBackend(node, "xfs", "prjquota", "wsync")
	if lacks := e.get("nfsbackend/"+backend, "{.status.limitations}"); lacks != "" {
		t.Errorf("the backend lacks %s", lacks)
	}
	class := e.profile("mounted", onBackend(backend))
	e.create(newClaim("data", ofClass(class), ofSize("64Mi")), newPod("writer", "data", on(e.nodes()[0])))
	e.ready("writer")
	if got := e.shell("writer", "df -kP /data | awk 'END {print $2}'"); got != "65536" {
		t.Errorf("df says %s KiB, want those of the claim", got)
	}
	if got := e.shell("writer", "dd if=/dev/zero of=/data/full bs=1M count=100 2>&1; rm /data/full"); !strings.Contains(got, "No space left") {
		t.Errorf("writing past the size ended with %q", got)
	}
	if got := e.shell("writer", "mknod /data/device b 7 7 2>&1 || true"); !strings.Contains(got, "not permitted") {
		t.Errorf("making a device node ended with %q", got)
	}
	e.shell("writer", writer)
	e.shell("writer", "until [ -e /tmp/written ]; do sleep 0.1; done")
	e.do("-n", systemNamespace, "delete", "pod", names.Shard(backend, 0)+"-0", "--timeout=300s")
	e.writesOn("writer", "a restart of the server")
	e.allWritten("writer")
	e.create(newClaim("copy", ofClass(class), ofSize("64Mi"), from("", "PersistentVolumeClaim", "data")), newPod("reader", "copy"))
	e.ready("reader")
	if got, want := e.shell("reader", "wc -l < /data/log"), e.shell("writer", "wc -l < /data/log"); got != want {
		t.Errorf("the clone has %s lines, want %s", got, want)
	}
	e.do("delete", "pod", "writer", "reader", "--timeout=300s")
	e.do("delete", "pvc", "data", "copy", "--timeout=300s")
}

// TestMountedExt4: it is served, and says what it cannot do.
func TestMountedExt4(t *testing.T) {
	e := newEnv(t)
	backend := e.mountedBackend(e.nodes()[0], "ext4")
	if got := e.get("nfsbackend/"+backend, "{.status.limitations[*].capability}"); got != "Quota Snapshots Durability" {
		t.Errorf("the backend lacks %q", got)
	}
	class := e.profile("mounted", onBackend(backend))
	e.create(newClaim("data", ofClass(class), ofSize("64Mi")), newPod("writer", "data"))
	e.ready("writer")
	e.shell("writer", "dd if=/dev/zero of=/data/more bs=1M count=100 && sync /data/more")
	e.create(newClaim("copy", ofClass(class), ofSize("64Mi"), from("", "PersistentVolumeClaim", "data")))
	e.event("pvc/copy", "files cannot be cloned here")
	e.do("delete", "pod", "writer", "--timeout=300s")
	e.do("delete", "pvc", "data", "copy", "--timeout=300s")
}
