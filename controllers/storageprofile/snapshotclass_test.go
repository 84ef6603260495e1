//go:build envtest

package storageprofile

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func (w *world) snapshotClass() (*unstructured.Unstructured, error) {
	class := &unstructured.Unstructured{}
	class.SetGroupVersionKind(profile.SnapshotClassKind)
	return class, testenv.Client(w.t).Get(w.t.Context(), client.ObjectKey{Name: w.name}, class)
}

func TestSnapshotClass(t *testing.T) {
	before := newWorld(t, "snapped")
	before.backend(true)
	before.create(nil)
	before.settle()
	before.Expect(before.profile().Status.VolumeSnapshotClassName).To(BeEmpty(), "the cluster has no snapshots yet")

	testenv.InstallSnapshotCRDs(t)
	w := *before
	w.settle()
	class, err := w.snapshotClass()
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(class.Object["driver"]).To(Equal(names.Driver))
	w.Expect(class.Object["deletionPolicy"]).To(Equal("Delete"))
	w.Expect(class.GetOwnerReferences()[0].UID).To(Equal(w.profile().UID))
	w.Expect(w.profile().Status.VolumeSnapshotClassName).To(Equal("snapped"))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.Snapshots.DeletionPolicy = "Retain" })
	class, err = w.snapshotClass()
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(class.Object["deletionPolicy"]).To(Equal("Retain"))
	class.SetLabels(map[string]string{"example.org/mine": "stays"}) // ours are put back beside it
	w.Expect(w.c.Update(t.Context(), class)).To(Succeed())
	w.settle()
	class, err = w.snapshotClass()
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(class.GetLabels()).To(And(HaveKeyWithValue("example.org/mine", "stays"), HaveKeyWithValue(names.LabelProfile, "snapped")))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.Snapshots.Class = v1alpha1.SnapshotClassNone })
	_, err = w.snapshotClass()
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue())
	w.Expect(w.profile().Status.VolumeSnapshotClassName).To(BeEmpty())
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}

func TestForeignSnapshotClassIsNotTouched(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	w := newWorld(t, "foreign-snapshots")
	foreign := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": w.name}, "driver": "disks.example.org", "deletionPolicy": "Delete",
	}}
	foreign.SetGroupVersionKind(profile.SnapshotClassKind)
	w.Expect(w.c.Create(t.Context(), foreign)).To(Succeed())
	w.backend(true)
	w.create(nil)
	w.settle()
	class, err := w.snapshotClass()
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(class.GetResourceVersion()).To(Equal(foreign.GetResourceVersion()))
	w.Expect(w.ready().Reason).To(Equal("VolumeSnapshotClassNotOurs"))
	w.Expect(w.ready().Message).To(ContainSubstring("of disks.example.org"))
	w.Expect(w.kstatus()).To(Equal(status.FailedStatus))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.Snapshots.Class = v1alpha1.SnapshotClassNone })
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
	w.Expect(w.profile().Status.StorageClassName).To(Equal(w.name))
}

// externalBackend has mounted its share, or not yet: then nobody knows what it can do.
func (w *world) externalBackend(limitations ...string) {
	w.t.Helper()
	backend := &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	backend.Spec.External = &v1alpha1.ExternalServer{Server: "nas", Path: "/export"}
	w.Expect(w.c.Create(w.t.Context(), backend)).To(Succeed())
	w.limit(limitations...)
}

func (w *world) limit(limitations ...string) {
	w.t.Helper()
	backend := &v1alpha1.NFSBackend{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Name: w.name}, backend)).To(Succeed())
	backend.Status.Limitations = nil
	for _, name := range limitations {
		backend.Status.Limitations = append(backend.Status.Limitations, v1alpha1.Limitation{Capability: name, Reason: "so it is"})
	}
	backend.Status.Shards = []v1alpha1.ShardStatus{{Serving: len(limitations) > 0, Available: new(resource.MustParse("8Gi"))}}
	w.Expect(w.c.Status().Update(w.t.Context(), backend)).To(Succeed())
	w.settle()
}

func TestExternalBackendAndItsLimitations(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	w := newWorld(t, "share")
	w.create(nil)
	w.externalBackend()
	_, err := w.snapshotClass()
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "what the share can do is not known")
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))

	w.limit("Quota", "Snapshots")
	_, err = w.snapshotClass()
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue())
	w.Expect(w.profile().Status.VolumeSnapshotClassName).To(BeEmpty())
	w.Expect(w.ready().Message).To(Equal(
		"claims of StorageClass share get volumes on NFSBackend share; NFSBackend share lacks Quota, Snapshots (its status says why)"))
	w.Expect(w.profile().Status.LargestVolume.String()).To(Equal("8Gi"))
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))

	w.limit("Quota") // a NAS that was updated
	_, err = w.snapshotClass()
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(w.profile().Status.VolumeSnapshotClassName).To(Equal("share"))
}

// TestFilesystemWhoseLimitationsAreNotKnown: no class comes and goes while the first server starts.
func TestFilesystemWhoseLimitationsAreNotKnown(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	w := newWorld(t, "mounted")
	w.create(nil)
	backend := &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: w.name}}
	backend.Spec.Server = &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{
		Size: resource.MustParse("10Gi"), VolumeMode: corev1.PersistentVolumeFilesystem,
	}}}
	w.Expect(w.c.Create(t.Context(), backend)).To(Succeed())
	w.settle()
	_, err := w.snapshotClass()
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue())

	backend.Status.Capacity = new(resource.MustParse("10Gi"))
	w.Expect(w.c.Status().Update(t.Context(), backend)).To(Succeed())
	w.settle()
	_, err = w.snapshotClass()
	w.Expect(err).NotTo(HaveOccurred())
}

// One server that cannot make snapshots does not take them from the volumes of the others.
func TestSnapshotsOnSomeOfTheServers(t *testing.T) {
	for partial, want := range map[bool]bool{false: false, true: true} {
		backend := &v1alpha1.NFSBackend{Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{}}}
		backend.Status.Limitations = []v1alpha1.Limitation{{Capability: v1alpha1.CapabilitySnapshots, Partial: partial}}
		s := &scope{profile: &v1alpha1.StorageProfile{}, backends: []*v1alpha1.NFSBackend{backend}}
		if got := s.snapshotsPossible(); got != want {
			t.Errorf("partial %v: %v, want %v", partial, got, want)
		}
	}
}
