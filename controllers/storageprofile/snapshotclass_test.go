//go:build envtest

package storageprofile

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
