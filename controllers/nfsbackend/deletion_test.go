//go:build envtest

package nfsbackend

import (
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func (w *world) delete() {
	w.t.Helper()
	w.Expect(w.c.Delete(w.t.Context(), w.backend())).To(Succeed())
}

func (w *world) backendGone() bool {
	return w.gone(client.ObjectKey{Name: w.name}, &v1alpha1.NFSBackend{})
}

func TestDeletionWaitsForVolumesWhileServersRun(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(3)
	w.delete()
	w.settle()
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal("DeletionBlocked"))
	w.Expect(ready.Message).To(ContainSubstring("3 volumes"))

	set := &appsv1.StatefulSet{}
	w.get(w.shard(), set)
	w.Expect(w.c.Delete(t.Context(), set)).To(Succeed())
	w.settle()
	w.get(w.shard(), set) // children are still put back

	w.agents.status = nil
	w.settle()
	w.Expect(w.backendGone()).To(BeFalse(), "an agent that cannot be asked counts as in use")
}

func TestRetainKeepsTheDiskForAnotherBackendOfTheName(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	w.Expect(w.gone(w.shard(), &appsv1.StatefulSet{})).To(BeTrue())
	w.Expect(w.gone(w.shard(), &corev1.Service{})).To(BeTrue())
	w.Expect(w.gone(w.shard(), &corev1.Secret{})).To(BeTrue())
	w.Expect(w.gone(w.podKey(), &corev1.Pod{})).To(BeTrue())

	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	w.Expect(claim.DeletionTimestamp).To(BeNil())
	w.Expect(claim.Finalizers).NotTo(ContainElement(names.Finalizer), "its PersistentVolume is retained, so it may go")
	volume := &corev1.PersistentVolume{}
	w.get(client.ObjectKey{Name: "disk-" + w.name}, volume)
	w.Expect(volume.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))

	w.agents.status = nil
	w.create(func(b *v1alpha1.NFSBackend) {
		other := "another-class"
		b.Spec.Server.Storage.VolumeClaimTemplate.StorageClassName = &other
	})
	w.settle()
	w.get(w.claimKey(), claim)
	w.Expect(*claim.Spec.StorageClassName).To(Equal("local-block"))
	w.Expect(claim.Finalizers).To(ContainElement(names.Finalizer))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(BeEquivalentTo("True"), "the adopted disk may hold volumes")
}

func TestDeleteGivesTheDiskBack(t *testing.T) {
	w := newWorld(t)
	w.create(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.ready(0)
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	claim := &corev1.PersistentVolumeClaim{}
	if !w.gone(w.claimKey(), claim) { // Kubernetes' own finalizer, which nobody removes here
		w.Expect(claim.DeletionTimestamp).NotTo(BeNil())
		w.Expect(claim.Finalizers).NotTo(ContainElement(names.Finalizer))
	}
	volume := &corev1.PersistentVolume{}
	w.get(client.ObjectKey{Name: "disk-" + w.name}, volume)
	w.Expect(volume.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimDelete))
}

func TestBackendThatNeverGotADiskCanBeDeleted(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}
