//go:build envtest

package nfsbackend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/controllers/pki"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fakeAgents answers for all shards the same, except for those in of.
type fakeAgents struct {
	mu     sync.Mutex
	status *agentv1.ServerStatus
	of     map[string]*agentv1.ServerStatus
	hosts  []string
	lost   int      // how many of the next questions get no answer
	gone   []string // what SetNodeGone was told
	deaf   error    // what it answers
}

func (f *fakeAgents) SetNodeGone(_ context.Context, _, _ string, node *agentv1.SetNodeGoneRequest) error {
	said := fmt.Sprintf("%s gone=%t fenced=%t", node.GetNode(), node.GetGone(), node.GetFenced())
	if boot := node.GetEndedBootId(); boot != "" {
		said += " ended=" + boot
	}
	f.gone = append(f.gone, said)
	return f.deaf
}

func (f *fakeAgents) Status(_ context.Context, shard, host string) (*agentv1.ServerStatus, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hosts = append(f.hosts, host)
	status, special := f.of[shard]
	if !special {
		status = f.status
	}
	if f.lost > 0 {
		f.lost--
		return nil, context.DeadlineExceeded
	}
	if status == nil {
		return nil, errors.New("connection refused")
	}
	return status, nil
}

func serving(volumes int32) *agentv1.ServerStatus {
	const gibibyte = int64(1) << 30
	return &agentv1.ServerStatus{
		Serving: true, ServerId: "server-1", Version: "dev", GaneshaVersion: "15.2", Volumes: volumes,
		Capacity: &agentv1.Capacity{
			TotalBytes: 10 * gibibyte, AllocatedBytes: int64(volumes)*gibibyte + 12345, AvailableBytes: 9*gibibyte - 1,
		},
	}
}

// world is the API server, the reconciler under test, and what other controllers would do.
type world struct {
	*WithT
	t       *testing.T
	c       client.Client
	r       *Reconciler
	agents  *fakeAgents
	counter *testenv.Counter
	name    string
	ahead   time.Duration // of the clock, for the reconciler
}

func newWorld(t *testing.T) *world {
	t.Helper()
	testenv.ClaimDriver(t, testenv.Namespace)
	c, counter := testenv.CountingClient(t)
	claim := install.Claim{Client: c, Namespace: testenv.Namespace}
	authority := &pki.Authority{Client: c, Uncached: c, Claim: claim, Namespace: testenv.Namespace}
	w := &world{
		WithT: NewWithT(t), t: t, c: testenv.Client(t), agents: &fakeAgents{}, counter: counter,
		name: fmt.Sprintf("b%x", len(t.Name())) + nextSuffix(),
	}
	w.r = &Reconciler{
		Client: c, Uncached: c, Recorder: testenv.Recorder(), Agents: w.agents, Claim: claim,
		Namespace: testenv.Namespace, Image: "example.org/nfs-server:test",
		Now: func() time.Time { return time.Now().Add(w.ahead) },
	}
	_, err := testenv.Settle(t, authority, counter, "any")
	w.Expect(err).NotTo(HaveOccurred())
	t.Cleanup(w.checkStatus)
	return w
}

// checkStatus ends each story, and each pass in it: others must read in the status what it says.
func (w *world) checkStatus() {
	w.t.Helper()
	testenv.CheckKStatus(w.t, w.c, &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: w.name}})
}

var suffixes = 0

func nextSuffix() string {
	suffixes++
	return fmt.Sprintf("-%d", suffixes)
}

func (w *world) create(change func(*v1alpha1.NFSBackend)) {
	w.t.Helper()
	class := "local-block"
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: w.name},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{
			Storage: v1alpha1.ServerStorage{VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{
				StorageClassName: &class, Size: resource.MustParse("10Gi"),
			}},
		}},
	}
	if change != nil {
		change(backend)
	}
	w.Expect(w.c.Create(w.t.Context(), backend)).To(Succeed())
}

func (w *world) settle() {
	w.t.Helper()
	for {
		result, err := testenv.Settle(w.t, w.r, w.counter, w.name)
		w.Expect(err).NotTo(HaveOccurred())
		w.checkStatus()
		if result.RequeueAfter == 0 || result.RequeueAfter > settleInterval || w.gone(client.ObjectKey{Name: w.name}, &v1alpha1.NFSBackend{}) ||
			apimeta.FindStatusCondition(w.backend().Status.Conditions, v1alpha1.ConditionReleased) == nil {
			return
		}
		w.ahead += settleInterval // nothing but the deletion's pause is waited for
	}
}

func (w *world) backend() *v1alpha1.NFSBackend {
	w.t.Helper()
	backend := &v1alpha1.NFSBackend{}
	w.Expect(w.c.Get(w.t.Context(), client.ObjectKey{Name: w.name}, backend)).To(Succeed())
	return backend
}

func (w *world) condition(kind string) metav1.Condition {
	w.t.Helper()
	condition := apimeta.FindStatusCondition(w.backend().Status.Conditions, kind)
	w.Expect(condition).NotTo(BeNil(), kind)
	return *condition
}

func (w *world) shard() client.ObjectKey { return w.shardKey(0) }

func (w *world) shardKey(number int32) client.ObjectKey {
	return client.ObjectKey{Namespace: testenv.Namespace, Name: names.Shard(w.name, number)}
}

func (w *world) claimKey() client.ObjectKey { return w.claimOf(0) }

func (w *world) claimOf(number int32) client.ObjectKey {
	return client.ObjectKey{Namespace: testenv.Namespace, Name: names.DataClaim(w.name, number)}
}

func (w *world) get(key client.ObjectKey, obj client.Object) {
	w.t.Helper()
	w.Expect(w.c.Get(w.t.Context(), key, obj)).To(Succeed())
}

func (w *world) gone(key client.ObjectKey, obj client.Object) bool {
	return apierrors.IsNotFound(w.c.Get(w.t.Context(), key, obj))
}

// bind does what the PersistentVolume controller would.
func (w *world) bind() { w.bindShard(0, "disk-"+w.name) }

func (w *world) bindShard(number int32, name string) {
	w.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimOf(number), claim)
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			VolumeMode:                    claim.Spec.VolumeMode,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: "disks.example.org", VolumeHandle: name,
			}},
		},
	}
	w.Expect(w.c.Create(w.t.Context(), volume)).To(Succeed())
	w.bindTo(claim, volume)
}

// bindTo is the binding itself.
func (w *world) bindTo(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) {
	w.t.Helper()
	if claim.Spec.VolumeName == "" {
		claim.Spec.VolumeName = volume.Name
		w.Expect(w.c.Update(w.t.Context(), claim)).To(Succeed())
	}
	volume.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
	}
	w.Expect(w.c.Update(w.t.Context(), volume)).To(Succeed())
	volume.Status.Phase = corev1.VolumeBound
	w.Expect(w.c.Status().Update(w.t.Context(), volume)).To(Succeed())
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.Capacity = volume.Spec.Capacity
	w.Expect(w.c.Status().Update(w.t.Context(), claim)).To(Succeed())
}

// startPod does what the StatefulSet controller and a kubelet would.
func (w *world) startPod() { w.startShard(0) }

func (w *world) startShard(number int32) {
	w.t.Helper()
	set := &appsv1.StatefulSet{}
	w.get(w.shardKey(number), set)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: set.Name + "-0", Namespace: set.Namespace,
			Labels: set.Spec.Template.Labels, Annotations: set.Spec.Template.Annotations,
		},
		Spec: set.Spec.Template.Spec,
	}
	pod.Spec.ServiceAccountName = ""
	pod.Spec.TerminationGracePeriodSeconds = new(int64(0)) // no kubelet will confirm its end
	w.Expect(w.c.Create(w.t.Context(), pod)).To(Succeed())
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "10.1.2.3"
	w.Expect(w.c.Status().Update(w.t.Context(), pod)).To(Succeed())
	set.Status.ObservedGeneration = set.Generation
	w.Expect(w.c.Status().Update(w.t.Context(), set)).To(Succeed())
}

// ready is a backend that serves.
func (w *world) ready(volumes int32) {
	w.t.Helper()
	w.settle()
	w.bind()
	w.startPod()
	w.agents.status = serving(volumes)
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionTrue))
}

// podKey is the only pod of the shard.
func (w *world) podKey() client.ObjectKey { return w.podOf(0) }

func (w *world) podOf(number int32) client.ObjectKey {
	return client.ObjectKey{Namespace: testenv.Namespace, Name: names.Shard(w.name, number) + "-0"}
}

// readyShards is a backend of several servers that serve.
func (w *world) readyShards(shards int32) {
	w.t.Helper()
	w.create(func(b *v1alpha1.NFSBackend) { b.Spec.Server.Shards = shards })
	w.settle()
	for number := range shards {
		w.bindShard(number, fmt.Sprintf("disk-%d-%s", number, w.name))
		w.startShard(number)
	}
	w.agents.status = serving(0)
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionTrue))
}

// change edits the backend's spec.
func (w *world) change(edit func(*v1alpha1.NFSBackend)) {
	w.t.Helper()
	backend := w.backend()
	edit(backend)
	w.Expect(w.c.Update(w.t.Context(), backend)).To(Succeed())
}

// observed is what the StatefulSet's controller does with a new template.
func (w *world) observed(number int32) {
	w.t.Helper()
	set := &appsv1.StatefulSet{}
	w.get(w.shardKey(number), set)
	set.Status.ObservedGeneration = set.Generation
	w.Expect(w.c.Status().Update(w.t.Context(), set)).To(Succeed())
}
