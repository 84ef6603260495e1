//go:build envtest

package storageprofile

import (
	"context"
	"errors"
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
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type world struct {
	*WithT
	t        *testing.T
	c        client.Client
	r        *Reconciler
	recorder *events.FakeRecorder
	counter  *testenv.Counter
	name     string
}

func newWorld(t *testing.T, name string) *world {
	t.Helper()
	testenv.ClaimDriver(t, testenv.Namespace)
	c, counter := testenv.CountingClient(t)
	recorder := testenv.Recorder()
	w := &world{
		WithT: NewWithT(t), t: t, c: testenv.Client(t), counter: counter, recorder: recorder, name: name,
		r: &Reconciler{Client: c, Recorder: recorder, Claim: install.Claim{Client: c, Namespace: testenv.Namespace}},
	}
	t.Cleanup(w.checkStatus)
	return w
}

// checkStatus ends each story, and each step of it: others must read in the status what it says.
func (w *world) checkStatus() {
	w.t.Helper()
	testenv.CheckKStatus(w.t, w.c, &v1alpha1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: w.name}})
}

func (w *world) create(change func(*v1alpha1.StorageProfile)) {
	w.t.Helper()
	profile := &v1alpha1.StorageProfile{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec:       v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: w.name}},
	}
	if change != nil {
		change(profile)
	}
	w.Expect(w.c.Create(w.t.Context(), profile)).To(Succeed())
}

func (w *world) backend(serving bool) {
	w.t.Helper()
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{Size: resource.MustParse("10Gi")},
		}}},
	}
	w.Expect(w.c.Create(w.t.Context(), backend)).To(Succeed())
	value := metav1.ConditionUnknown
	if serving {
		value = metav1.ConditionTrue
	}
	backend.Status.Conditions = []metav1.Condition{{
		Type: "Ready", Status: value, Reason: "Test", Message: "as the test says", LastTransitionTime: metav1.Now(),
	}}
	backend.Status.Shards = []v1alpha1.ShardStatus{{Serving: serving, Available: new(resource.MustParse("8Gi"))}}
	w.Expect(w.c.Status().Update(w.t.Context(), backend)).To(Succeed())
}

func (w *world) settle() {
	w.t.Helper()
	_, err := testenv.Settle(w.t, w.r, w.counter, w.name)
	w.Expect(err).NotTo(HaveOccurred())
	w.checkStatus()
}

func (w *world) profile() *v1alpha1.StorageProfile {
	w.t.Helper()
	profile := &v1alpha1.StorageProfile{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Name: w.name}, profile)).To(Succeed())
	return profile
}

func (w *world) class() *storagev1.StorageClass {
	w.t.Helper()
	class := &storagev1.StorageClass{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Name: w.name}, class)).To(Succeed())
	return class
}

func (w *world) ready() metav1.Condition {
	w.t.Helper()
	return *apimeta.FindStatusCondition(w.profile().Status.Conditions, v1alpha1.ConditionReady)
}

func (w *world) kstatus() status.Status { return testenv.KStatus(w.t, w.profile()) }

func (w *world) update(change func(*v1alpha1.StorageProfile)) {
	w.t.Helper()
	profile := w.profile()
	change(profile)
	w.Expect(w.c.Update(w.t.Context(), profile)).To(Succeed())
	w.settle()
}

func TestClassIsGenerated(t *testing.T) {
	w := newWorld(t, "generated")
	w.create(func(p *v1alpha1.StorageProfile) { p.Spec.MountOptions = []string{"nconnect=4"} })
	w.settle()
	class := w.class()
	w.Expect(class.Provisioner).To(Equal(names.Driver))
	w.Expect(class.Parameters).To(Equal(map[string]string{"profile": "generated"}))
	w.Expect(*class.ReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimDelete))
	w.Expect(*class.VolumeBindingMode).To(Equal(storagev1.VolumeBindingImmediate))
	w.Expect(*class.AllowVolumeExpansion).To(BeTrue())
	w.Expect(class.MountOptions).To(Equal([]string{"nconnect=4"}))
	w.Expect(metav1.IsControlledBy(class, w.profile())).To(BeTrue())
	w.Expect(w.profile().Finalizers).To(BeEmpty())

	w.Expect(w.ready().Reason).To(Equal("BackendNotFound"))
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))
	w.backend(false)
	w.settle()
	w.Expect(w.ready().Message).To(ContainSubstring("as the test says"))
}

func TestReadyWithItsBackend(t *testing.T) {
	w := newWorld(t, "ready")
	w.backend(true)
	w.create(nil)
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
	w.Expect(w.profile().Status.LargestVolume.String()).To(Equal("8Gi"))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.MaxVolumeSize = new(resource.MustParse("5Gi")) })
	w.Expect(w.profile().Status.LargestVolume.String()).To(Equal("5Gi"))
	w.Expect(w.profile().Status.Available.String()).To(Equal("8Gi"))
	w.settle()
	w.Expect(w.counter.Writes()).To(BeZero())
}

func TestForeignClassIsNotTouched(t *testing.T) {
	w := newWorld(t, "foreign")
	foreign := &storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: w.name}, Provisioner: "disks.example.org"}
	w.Expect(w.c.Create(t.Context(), foreign)).To(Succeed())
	w.backend(true)
	w.create(nil)
	w.settle()
	w.Expect(w.class().ResourceVersion).To(Equal(foreign.ResourceVersion))
	w.Expect(w.ready().Reason).To(Equal("StorageClassNotOurs"))
	w.Expect(w.kstatus()).To(Equal(status.FailedStatus))

	w.Expect(w.c.Delete(t.Context(), foreign)).To(Succeed())
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}

func TestClassIsMadeAgainOnlyForImmutableFields(t *testing.T) {
	w := newWorld(t, "again")
	w.backend(true)
	w.create(nil)
	w.settle()
	class := w.class()
	class.Annotations = map[string]string{storageClassDefault: "true"}
	class.Labels["example.org/mine"] = "stays"
	w.Expect(w.c.Update(t.Context(), class)).To(Succeed())
	uid := class.UID

	w.update(func(p *v1alpha1.StorageProfile) {
		p.Spec.VolumeExpansion = v1alpha1.ExpansionRefused
		p.Spec.MountOptions = []string{"nconnect=4"}
	})
	w.Expect(w.class().UID).To(Equal(uid))
	w.Expect(*w.class().AllowVolumeExpansion).To(BeFalse())

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.ReclaimPolicy = corev1.PersistentVolumeReclaimRetain })
	class = w.class()
	w.Expect(class.UID).NotTo(Equal(uid))
	w.Expect(*class.ReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
	w.Expect(class.Annotations).To(HaveKeyWithValue(storageClassDefault, "true"))
	w.Expect(class.Labels).To(HaveKeyWithValue("example.org/mine", "stays"))
	w.Expect(metav1.IsControlledBy(class, w.profile())).To(BeTrue())
	w.Expect(w.texts()).To(ContainElement(And(HavePrefix("Normal StorageClassRecreated "), ContainSubstring("Existing PersistentVolumes keep their reclaim policy"))))
	w.Expect(w.profile().Status.CarriedOver).To(BeNil())

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.MountOptions = nil })
	w.Expect(w.class().MountOptions).To(BeEmpty(), "nobody but us owns the fields of the class that was made again")
}

func (w *world) texts() []string { return testenv.Events(w.recorder) }

const storageClassDefault = "storageclass.kubernetes.io/is-default-class"

// TestDriftIsPutBack: what was made from a profile, edited and deleted by hand. What people write beside it stays.
func TestDriftIsPutBack(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	w := newWorld(t, "drift")
	w.backend(true)
	w.create(func(p *v1alpha1.StorageProfile) { p.Spec.MaxVolumeSize = new(resource.MustParse("5Gi")) })
	w.settle()
	class, policy, binding := &storagev1.StorageClass{}, &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}
	snapshots := &unstructured.Unstructured{}
	snapshots.SetGroupVersionKind(profile.SnapshotClassKind)
	for _, test := range []struct {
		name, object string
		obj          client.Object
		edit         func()
		restored     func()
	}{
		{
			"StorageClass", w.name, class,
			func() { class.AllowVolumeExpansion = new(false) },
			func() { w.Expect(*class.AllowVolumeExpansion).To(BeTrue()) },
		},
		{
			"ValidatingAdmissionPolicy", profile.PolicyName(w.name), policy,
			func() { policy.Spec.Validations[0].Expression = "true" },
			func() { w.Expect(policy.Spec.Validations[0].Expression).To(ContainSubstring("5Gi")) },
		},
		{
			"ValidatingAdmissionPolicyBinding", profile.PolicyName(w.name), binding,
			func() { binding.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Warn} },
			func() {
				w.Expect(binding.Spec.ValidationActions).To(Equal([]admissionv1.ValidationAction{admissionv1.Deny}))
			},
		},
		{
			"VolumeSnapshotClass", w.name, snapshots,
			func() { snapshots.Object["deletionPolicy"] = "Retain" },
			func() { w.Expect(snapshots.Object["deletionPolicy"]).To(Equal("Delete")) },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			key := client.ObjectKey{Name: test.object}
			w.Expect(w.c.Get(t.Context(), key, test.obj)).To(Succeed())
			test.edit()
			test.obj.SetLabels(map[string]string{"example.org/mine": "stays"}) // and ours are gone
			test.obj.SetAnnotations(map[string]string{"example.org/note": "stays"})
			w.Expect(w.c.Update(t.Context(), test.obj)).To(Succeed())
			expect := func() {
				t.Helper()
				w.settle()
				w.Expect(w.c.Get(t.Context(), key, test.obj)).To(Succeed())
				test.restored()
				w.Expect(test.obj.GetLabels()).To(HaveKeyWithValue(names.LabelProfile, w.name))
				w.Expect(metav1.IsControlledBy(test.obj, w.profile())).To(BeTrue())
			}
			expect()
			w.Expect(test.obj.GetLabels()).To(HaveKeyWithValue("example.org/mine", "stays"))
			w.Expect(test.obj.GetAnnotations()).To(HaveKeyWithValue("example.org/note", "stays"))
			w.Expect(w.c.Delete(t.Context(), test.obj)).To(Succeed())
			expect()
		})
	}
}

func TestDeletedProfileLeavesNothingToDo(t *testing.T) {
	w := newWorld(t, "deleted")
	w.create(nil)
	w.settle()
	w.Expect(w.c.Delete(t.Context(), w.profile())).To(Succeed())
	w.settle()
	err := w.c.Get(t.Context(), client.ObjectKey{Name: w.name}, &v1alpha1.StorageProfile{})
	w.Expect(apierrors.IsNotFound(err)).To(BeTrue(), "no finalizer holds it; the class goes with its owner reference")
}

func TestFailedApplyIsToldAndPasses(t *testing.T) {
	w := newWorld(t, "failing")
	w.backend(true)
	w.create(nil)
	w.settle()
	w.texts()
	whole := w.r.Client
	w.r.Client = interceptor.NewClient(whole.(client.WithWatch), interceptor.Funcs{
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return testenv.ErrInjected
		},
	})
	w.Expect(w.c.Delete(t.Context(), w.class())).To(Succeed())
	for range 2 {
		_, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}})
		w.Expect(errors.Is(err, testenv.ErrInjected)).To(BeTrue(), "%v", err)
	}
	w.Expect(w.ready().Reason).To(Equal(reasonApplyFailed))
	w.Expect(w.ready().Message).To(ContainSubstring("injected"))
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))
	w.Expect(w.texts()).To(ConsistOf(HavePrefix("Warning ApplyFailed ")))
	w.r.Client = whole
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
	w.Expect(w.texts()).To(ConsistOf(HavePrefix("Normal Ready ")))
}
