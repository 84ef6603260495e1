//go:build envtest

package storageprofile

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

// TestEveryCallMayFail makes each call of two stories fail once, as when the manager dies there: the next manager ends
// where it would have ended without. The second story makes the class again.
func TestEveryCallMayFail(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	world := newWorld(t, "unused")
	restricted := func(p *v1alpha1.StorageProfile) { p.Spec.MaxVolumeSize = new(resource.MustParse("5Gi")) }
	testenv.EachCall(t, func(t *testing.T, c client.WithWatch, f *testenv.Fault, n int) {
		w := *world
		w.WithT, w.t, w.name = NewWithT(t), t, fmt.Sprintf("fault-%d", n)
		w.backend(true)
		w.create(restricted)
		w.interrupted(c, f, n)
		w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
		w.Expect(w.profile().Status.VolumeSnapshotClassName).To(Equal(w.name))
	})
	testenv.EachCall(t, func(t *testing.T, c client.WithWatch, f *testenv.Fault, n int) {
		w := *world
		w.WithT, w.t, w.name = NewWithT(t), t, fmt.Sprintf("again-%d", n)
		w.backend(true)
		w.create(restricted)
		w.settle()
		class := w.class()
		class.Annotations = map[string]string{storageClassDefault: "true"}
		w.Expect(w.c.Update(t.Context(), class)).To(Succeed())
		uid := class.UID
		profile := w.profile()
		profile.Spec.ReclaimPolicy, profile.Spec.MaxVolumeSize = corev1.PersistentVolumeReclaimRetain, nil
		w.Expect(w.c.Update(t.Context(), profile)).To(Succeed())
		w.interrupted(c, f, n)
		w.Expect(w.class().UID).NotTo(Equal(uid))
		w.Expect(w.class().Annotations).To(HaveKeyWithValue(storageClassDefault, "true"), "interrupted at call %d", n)
		w.Expect(w.profile().Status.CarriedOver).To(BeNil())
		w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
	})
}

// interrupted is a manager whose n-th call fails, and then another.
func (w *world) interrupted(c client.Client, f *testenv.Fault, n int) {
	w.t.Helper()
	first := &Reconciler{Client: c, Recorder: testenv.Recorder(), Claim: install.Claim{Client: c, Namespace: testenv.Namespace}}
	f.Arm(n)
	_, err := first.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}})
	if f.Struck() {
		w.Expect(errors.Is(err, testenv.ErrInjected)).To(BeTrue(), "call %d: %v", n, err)
	} else {
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.settle()
}
