//go:build envtest

package nfsdriver

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/images"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func TestMain(m *testing.M) { testenv.Main(m) }

type world struct {
	*WithT
	t       *testing.T
	c       client.Client
	r       *Reconciler
	counter *testenv.Counter
}

func newWorld(t *testing.T) *world {
	t.Helper()
	c, counter := testenv.CountingClient(t)
	w := &world{
		WithT: NewWithT(t), t: t, c: testenv.Client(t), counter: counter,
		r: &Reconciler{
			Client: c, Uncached: c, Recorder: testenv.Recorder(), Namespace: testenv.Namespace,
			Claim: install.Claim{Client: c, Namespace: testenv.Namespace}, Images: images.FromEnvironment(),
		},
	}
	t.Cleanup(w.reset)
	t.Cleanup(w.checkStatus)
	return w
}

// checkStatus ends each story, and each step of it: others must read in the status what it says.
func (w *world) checkStatus() {
	w.t.Helper()
	testenv.CheckKStatus(w.t, w.c, &v1alpha1.NFSDriver{ObjectMeta: metav1.ObjectMeta{Name: install.DriverName}})
}

// reset removes what a test made; each starts from an empty cluster.
func (w *world) reset() {
	ctx := context.Background()
	for _, obj := range []client.Object{&v1alpha1.NFSBackend{}, &corev1.PersistentVolume{}, &storagev1.CSIDriver{}} {
		w.Expect(w.c.DeleteAllOf(ctx, obj)).To(Succeed())
	}
	for _, obj := range []client.Object{&appsv1.Deployment{}, &appsv1.DaemonSet{}} {
		w.Expect(w.c.DeleteAllOf(ctx, obj, client.InNamespace(testenv.Namespace))).To(Succeed())
	}
	driver := &v1alpha1.NFSDriver{}
	if w.c.Get(ctx, client.ObjectKey{Name: install.DriverName}, driver) != nil {
		return
	}
	driver.Finalizers = nil
	w.Expect(w.c.Update(ctx, driver)).To(Succeed())
	w.Expect(client.IgnoreNotFound(w.c.Delete(ctx, driver))).To(Succeed())
}

func (w *world) settle() {
	w.t.Helper()
	_, err := testenv.Settle(w.t, w.r, w.counter, install.DriverName)
	w.Expect(err).NotTo(HaveOccurred())
	w.checkStatus()
}

func (w *world) driver() *v1alpha1.NFSDriver {
	w.t.Helper()
	driver := &v1alpha1.NFSDriver{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Name: install.DriverName}, driver)).To(Succeed())
	return driver
}

func (w *world) ready() metav1.Condition {
	w.t.Helper()
	return *apimeta.FindStatusCondition(w.driver().Status.Conditions, v1alpha1.ConditionReady)
}

func (w *world) kstatus() status.Status { return testenv.KStatus(w.t, w.driver()) }

func (w *world) stackExists() bool {
	w.t.Helper()
	err := w.c.Get(w.t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentNode}, &appsv1.DaemonSet{})
	if !apierrors.IsNotFound(err) {
		w.Expect(err).NotTo(HaveOccurred())
	}
	return err == nil
}

func (w *world) backend() *v1alpha1.NFSBackend {
	w.t.Helper()
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: "shared"},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{Size: resource.MustParse("10Gi")},
		}}},
	}
	w.Expect(w.c.Create(w.t.Context(), backend)).To(Succeed())
	return backend
}

func (w *world) volume() *corev1.PersistentVolume {
	w.t.Helper()
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pvc-1"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: names.Driver, VolumeHandle: "shared/0/abc",
			}},
		},
	}
	w.Expect(w.c.Create(w.t.Context(), volume)).To(Succeed())
	return volume
}

// rollOut does what the Deployment and DaemonSet controllers would.
func (w *world) rollOut() {
	w.t.Helper()
	deployment, set := &appsv1.Deployment{}, &appsv1.DaemonSet{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentController}, deployment)).To(Succeed())
	deployment.Status = appsv1.DeploymentStatus{
		ObservedGeneration: deployment.Generation, Replicas: 2, UpdatedReplicas: 2, ReadyReplicas: 2, AvailableReplicas: 2,
	}
	w.Expect(w.c.Status().Update(w.t.Context(), deployment)).To(Succeed())
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentNode}, set)).To(Succeed())
	set.Status = appsv1.DaemonSetStatus{
		ObservedGeneration: set.Generation, DesiredNumberScheduled: 3, CurrentNumberScheduled: 3, UpdatedNumberScheduled: 3, NumberReady: 3,
	}
	w.Expect(w.c.Status().Update(w.t.Context(), set)).To(Succeed())
}

func TestDriverIsMadeAndClaimed(t *testing.T) {
	w := newWorld(t)
	w.settle()
	w.Expect(w.driver().Status.InstallNamespace).To(Equal(testenv.Namespace))
	w.Expect(w.ready().Reason).To(Equal("NotNeeded"))
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
	w.Expect(w.stackExists()).To(BeFalse())
}

// A second installation makes nothing, is not ready, and says whose the driver is, where people look.
func TestSecondInstallationStandsAside(t *testing.T) {
	w := newWorld(t)
	probe := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/readyz/claim", nil)
	w.Expect(w.r.Claim.Check(probe)).To(Succeed(), "there is no driver yet")
	w.settle()
	w.Expect(w.events()).To(ContainElement(Equal("Normal Claimed The operator in namespace " + testenv.Namespace + " runs this driver")))
	w.Expect(w.r.Claim.Check(probe)).To(Succeed())

	w.backend()
	w.r.Claim.Namespace, w.r.Namespace = "elsewhere", "elsewhere"
	for range 3 {
		w.settle()
	}
	w.Expect(w.driver().Status.InstallNamespace).To(Equal(testenv.Namespace))
	w.Expect(w.stackExists()).To(BeFalse())
	says := And(ContainSubstring("namespace "+testenv.Namespace), ContainSubstring("elsewhere"))
	w.Expect(w.r.Claim.Check(probe)).To(MatchError(says))
	w.Expect(w.events()).To(ConsistOf(And(HavePrefix("Warning StandingAside "), says)), "once")

	w.r.Claim.Client = interceptor.NewClient(testenv.Client(t), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return testenv.ErrInjected
		},
	})
	w.Expect(w.r.Claim.Check(probe)).To(MatchError(testenv.ErrInjected), "nobody knows whose it is")
}

func TestStackExistsWithTheFirstBackend(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))
	csiDriver := &storagev1.CSIDriver{}
	w.Expect(w.c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, csiDriver)).To(Succeed())
	w.Expect(*csiDriver.Spec.AttachRequired).To(BeFalse())
	w.rollOut()
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
	w.Expect(w.ready().Reason).To(Equal(reasonRunning))
	w.Expect(w.driver().Status.Nodes).To(Equal("3/3"))
	w.Expect(w.driver().Status.Version).To(Equal("dev"))
	w.settle()
	w.Expect(w.counter.Writes()).To(BeZero())
}

func TestSnapshotterNeedsTheClustersCRDs(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	deployment := &appsv1.Deployment{}
	w.Expect(w.c.Get(t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentController}, deployment)).To(Succeed())
	var containers []string
	for _, container := range deployment.Spec.Template.Spec.Containers {
		containers = append(containers, container.Name)
	}
	w.Expect(containers).To(Equal([]string{"csi-controller", "csi-provisioner", "csi-resizer"}))
}

func TestStackStaysUntilTheLastVolumeIsGone(t *testing.T) {
	w := newWorld(t)
	backend := w.backend()
	volume := w.volume()
	w.settle()
	w.Expect(w.c.Delete(t.Context(), backend)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), w.driver())).To(Succeed())
	w.settle()
	w.Expect(w.stackExists()).To(BeTrue())
	w.Expect(w.ready().Reason).To(Equal("DeletionBlocked"))
	w.Expect(w.ready().Message).To(ContainSubstring("PersistentVolume pvc-1 exists"))

	volume.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), volume)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), volume)).To(Succeed())
	w.settle()
	w.Expect(w.stackExists()).To(BeFalse())
	w.Expect(w.driver().DeletionTimestamp).To(BeNil(), "a new, empty one has been made")
	w.Expect(w.ready().Reason).To(Equal("NotNeeded"))
}

func TestStackStaysUntilTheLastSnapshotIsGone(t *testing.T) {
	testenv.InstallSnapshotCRDs(t)
	w := newWorld(t)
	backend := w.backend()
	content := func(name, driver string) *unstructured.Unstructured {
		content := &unstructured.Unstructured{Object: map[string]any{
			"metadata": map[string]any{"name": name}, "spec": map[string]any{"driver": driver},
		}}
		content.SetGroupVersionKind(snapshots.Contents)
		w.Expect(w.c.Create(t.Context(), content)).To(Succeed())
		return content
	}
	content("another", "disks.example.org")
	last := content("last", names.Driver)
	w.settle()
	w.Expect(w.c.Delete(t.Context(), backend)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), w.driver())).To(Succeed())
	w.settle()
	w.Expect(w.stackExists()).To(BeTrue())
	w.Expect(w.ready().Reason).To(Equal(reasonDeletionBlocked))
	w.Expect(w.ready().Message).To(ContainSubstring("VolumeSnapshotContent last exists"))

	w.Expect(w.c.Delete(t.Context(), last)).To(Succeed())
	w.settle()
	w.Expect(w.stackExists()).To(BeFalse())
	w.Expect(w.ready().Reason).To(Equal(reasonNotNeeded))
}

func (w *world) events() []string { return testenv.Events(w.r.Recorder) }

// TestANewDriverKeepsWhatVolumesNeed has the NFSDriver made anew by hand, or from a backup: without our finalizer.
func TestANewDriverKeepsWhatVolumesNeed(t *testing.T) {
	w := newWorld(t)
	backend := w.backend()
	volume := w.volume()
	t.Cleanup(func() {
		volume.Finalizers = nil
		w.Expect(w.c.Update(context.Background(), volume)).To(Succeed())
	})
	w.settle()
	w.Expect(w.c.Delete(t.Context(), backend)).To(Succeed())
	for _, obj := range []client.Object{&appsv1.Deployment{}, &appsv1.DaemonSet{}} {
		w.Expect(w.c.DeleteAllOf(t.Context(), obj, client.InNamespace(testenv.Namespace))).To(Succeed())
	}
	driver := w.driver()
	driver.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), driver)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), driver)).To(Succeed())
	w.settle()
	w.Expect(w.c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, &storagev1.CSIDriver{})).To(Succeed())
	w.Expect(w.stackExists()).To(BeTrue())
}

// TestPodsFollowTheirAccounts: the API server refuses the token of an account that was deleted, whatever its successor is called.
func TestPodsFollowTheirAccounts(t *testing.T) {
	w := newWorld(t)
	w.backend()
	annotation := func() string {
		set := &appsv1.DaemonSet{}
		w.Expect(w.c.Get(t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentNode}, set)).To(Succeed())
		return set.Spec.Template.Annotations[meta.AnnotationAccount]
	}
	w.settle()
	w.Expect(annotation()).To(BeEmpty())
	var former string
	for range 2 {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: names.ComponentNode}}
		w.Expect(w.c.Create(t.Context(), account)).To(Succeed())
		w.settle()
		w.Expect(annotation()).To(Equal(string(account.UID)))
		w.Expect(annotation()).NotTo(Equal(former))
		former = annotation()
		w.Expect(w.c.Delete(t.Context(), account)).To(Succeed())
		w.settle()
		w.Expect(annotation()).To(Equal(former), "pods that run stay while no other could start")
	}
}
