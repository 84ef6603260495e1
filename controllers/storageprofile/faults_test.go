//go:build envtest

package storageprofile

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

// TestLifeOfAProfileWhoseCallsFail has each call of the reconciler fail once at each step, as when the manager dies there: it
// ends where it would have ended without.
func TestLifeOfAProfileWhoseCallsFail(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			w := newWorld(t, "fault-"+map[testenv.FaultKind]string{testenv.Refused: "a", testenv.Lost: "b", testenv.Conflict: "c"}[f.Kind])
			w.r.Client = f.Client(w.r.Client.(client.WithWatch))
			w.r.Claim.Client = w.r.Client
			suffer := func() {
				t.Helper()
				f.Again()
				f.Settle(t, w.r, w.counter, w.name, func(err error) {
					w.checkStatus()
					if f.Kind != testenv.Conflict {
						return
					}
					w.Expect(err).NotTo(HaveOccurred(), "a cache that is behind is no error")
					if ready := apimeta.FindStatusCondition(w.profile().Status.Conditions, v1alpha1.ConditionReady); ready != nil {
						w.Expect(ready.Reason).NotTo(Equal(reasonApplyFailed), "nor a thing to tell people: %s", ready.Message)
					}
				})
				w.checkStatus()
			}
			change := func(edit func(*v1alpha1.StorageProfile)) {
				t.Helper()
				profile := w.profile()
				edit(profile)
				w.Expect(w.c.Update(t.Context(), profile)).To(Succeed())
				suffer()
			}
			policies := func() (left int) {
				key := client.ObjectKey{Name: profile.PolicyName(w.name)}
				for _, obj := range []client.Object{&admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}} {
					if !apierrors.IsNotFound(w.c.Get(t.Context(), key, obj)) {
						left++
					}
				}
				return left
			}
			w.backend(true)
			w.create(func(p *v1alpha1.StorageProfile) { p.Spec.MaxVolumeSize = new(resource.MustParse("5Gi")) })
			suffer()
			w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
			w.Expect(w.profile().Status.VolumeSnapshotClassName).To(Equal(w.name))
			w.Expect(policies()).To(Equal(2))

			class := w.class()
			class.Annotations = map[string]string{storageClassDefault: "true"}
			w.Expect(w.c.Update(t.Context(), class)).To(Succeed())
			change(func(p *v1alpha1.StorageProfile) { // the class is made again
				p.Spec.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain
			})
			w.Expect(w.class().UID).NotTo(Equal(class.UID))
			w.Expect(w.class().Annotations).To(HaveKeyWithValue(storageClassDefault, "true"))
			w.Expect(w.profile().Status.CarriedOver).To(BeNil())

			change(func(p *v1alpha1.StorageProfile) { // policy and snapshot class go
				p.Spec.MaxVolumeSize, p.Spec.Snapshots.Class = nil, v1alpha1.SnapshotClassNone
			})
			w.Expect(policies()).To(BeZero())
			_, err := w.snapshotClass()
			w.Expect(apierrors.IsNotFound(err)).To(BeTrue())

			w.Expect(w.c.Delete(t.Context(), w.class())).To(Succeed())
			foreign := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Provisioner: "disks.example.org"}
			w.Expect(w.c.Create(t.Context(), foreign)).To(Succeed())
			suffer()
			w.Expect(w.ready().Reason).To(Equal(reasonForeignClass))
			w.Expect(w.class().ResourceVersion).To(Equal(foreign.ResourceVersion))
			w.Expect(w.c.Delete(t.Context(), foreign)).To(Succeed())
			suffer()
			w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
			w.Expect(metav1.IsControlledBy(w.class(), w.profile())).To(BeTrue())
		})
	}
}
