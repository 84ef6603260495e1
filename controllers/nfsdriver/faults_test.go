//go:build envtest

package nfsdriver

import (
	"context"
	"errors"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	storagev1 "k8s.io/api/storage/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// TestLifeOfAStackWhoseCallsFail has each call of the reconciler fail once at each step: it is made and claimed, upgraded, its
// CSIDriver made again, and removed.
func TestLifeOfAStackWhoseCallsFail(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			w := newWorld(t)
			w.r.Client = f.Client(w.r.Client.(client.WithWatch))
			w.r.Uncached, w.r.Claim.Client = w.r.Client, w.r.Client
			suffer := func() {
				t.Helper()
				f.Again()
				f.Settle(t, w.r, w.counter, install.DriverName, func(err error) {
					w.checkStatus()
					if f.Kind != testenv.Conflict {
						return
					}
					w.Expect(err).NotTo(HaveOccurred(), "a cache that is behind is no error")
					if ready := apimeta.FindStatusCondition(w.driver().Status.Conditions, v1alpha1.ConditionReady); ready != nil {
						w.Expect(ready.Reason).NotTo(Equal(reasonApplyFailed), "nor a thing to tell people: %s", ready.Message)
					}
				})
				w.checkStatus()
			}
			backend := w.backend()
			suffer()
			w.rollOut()
			suffer()
			w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))

			driver := w.driver()
			driver.Status.Version = "0.1.0"
			w.Expect(w.c.Status().Update(t.Context(), driver)).To(Succeed())
			w.r.Images.Operator = "example.org/nfs-operator:new"
			suffer()
			w.Expect(w.daemonSet().Spec.Template.Spec.Containers[0].Image).NotTo(Equal("example.org/nfs-operator:new"), "the controller comes first")
			for range 2 {
				w.rollOut()
				suffer()
			}
			w.Expect(w.driver().Status.Version).To(Equal("dev"))
			w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))

			foreign := &storagev1.CSIDriver{
				ObjectMeta: metav1.ObjectMeta{Name: names.Driver}, Spec: storagev1.CSIDriverSpec{AttachRequired: new(true)},
			}
			w.Expect(w.c.Delete(t.Context(), foreign)).To(Succeed())
			w.Expect(w.c.Create(t.Context(), foreign)).To(Succeed())
			suffer()
			live := &storagev1.CSIDriver{}
			w.Expect(w.c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, live)).To(Succeed())
			w.Expect(*live.Spec.AttachRequired).To(BeFalse())

			w.Expect(w.c.Delete(t.Context(), backend)).To(Succeed())
			w.Expect(w.c.Delete(t.Context(), w.driver())).To(Succeed())
			suffer()
			w.Expect(w.stackExists()).To(BeFalse())
			w.Expect(client.IgnoreNotFound(w.c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, live))).To(Succeed())
			w.Expect(w.ready().Reason).To(Equal(reasonNotNeeded), "a new, empty one has been made")
			w.Expect(w.driver().Status.InstallNamespace).To(Equal(testenv.Namespace))
			w.reset()
		})
	}
}

func TestFailedApplyIsToldAndPasses(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	w.rollOut()
	w.settle()
	w.events()
	whole := w.r.Client
	w.r.Client = interceptor.NewClient(whole.(client.WithWatch), interceptor.Funcs{
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return testenv.ErrInjected
		},
	})
	w.r.Images.Provisioner = "example.org/provisioner:1"
	for range 2 {
		_, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: install.DriverName}})
		w.Expect(errors.Is(err, testenv.ErrInjected)).To(BeTrue(), "%v", err)
	}
	w.Expect(w.ready().Reason).To(Equal(reasonApplyFailed))
	w.Expect(w.ready().Message).To(ContainSubstring("injected"))
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))
	w.Expect(w.events()).To(ConsistOf(HavePrefix("Warning ApplyFailed ")))
	w.r.Client = whole
	w.settle()
	w.Expect(w.ready().Reason).To(Equal(reasonRollingOut))
}
