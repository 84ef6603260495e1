//go:build envtest

package nfsbackend

import (
	"context"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func TestEachShardHasItsOwnAndMoreComeWhileOthersServe(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.Shards = 3 })
	w.settle()
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("2 of 3 servers serve"))
	addresses := map[string]bool{}
	for number := range int32(3) {
		for _, obj := range []client.Object{&appsv1.StatefulSet{}, &corev1.ConfigMap{}, &corev1.Secret{}} {
			w.get(w.shardKey(number), obj)
		}
		w.get(w.claimOf(number), &corev1.PersistentVolumeClaim{})
		service := &corev1.Service{}
		w.get(w.shardKey(number), service)
		addresses[service.Spec.ClusterIP] = true
	}
	w.Expect(addresses).To(HaveLen(3))
	for number := range int32(2) {
		w.get(w.podOf(number), &corev1.Pod{}) // those that serve are let alone
	}

	w.bindShard(2, "disk-2-"+w.name)
	w.startShard(2)
	w.settle()
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
	got := w.backend().Status
	w.Expect(got.ServingShards).To(Equal("3/3"))
	w.Expect(got.Capacity.String()).To(Equal("30Gi"))
	profile := &v1alpha1.StorageProfile{Spec: v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: w.name}}}
	servers, err := catalog.New(w.c, w.c).Servers(t.Context(), profile)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(servers).To(HaveLen(3), "the CSI controller places volumes on all of them")
}

func TestBrokenShardStopsNoOther(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	broken := w.shardKey(0).Name
	w.agents.of = map[string]*agentv1.ServerStatus{broken: {Reason: "DeviceNotBlank", Message: "the disk holds ext4, which is not ours"}}
	set := &appsv1.StatefulSet{}
	w.get(w.shardKey(1), set)
	w.Expect(w.c.Delete(t.Context(), set)).To(Succeed())
	w.settle()
	w.get(w.shardKey(1), set)
	stalled := w.condition(v1alpha1.ConditionStalled)
	w.Expect(stalled.Status).To(Equal(metav1.ConditionTrue))
	w.Expect(stalled.Message).To(And(ContainSubstring(broken), ContainSubstring("1 of 2 servers serve")))
	got := w.backend().Status
	w.Expect(got.Shards[0].Serving).To(BeFalse())
	w.Expect(got.Shards[0].Reason).To(Equal("DeviceNotBlank"))
	w.Expect(got.Shards[1].Serving).To(BeTrue())
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
}

func TestAddressThatSomebodyElseHasIsNotGivenUp(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	service := &corev1.Service{}
	w.get(w.shard(), service)
	address := service.Spec.ClusterIP
	w.Expect(w.c.Delete(t.Context(), service)).To(Succeed())
	thief := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "thief-" + w.name, Namespace: testenv.Namespace},
		Spec:       corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	w.Expect(w.c.Create(t.Context(), thief)).To(Succeed())
	for range 3 {
		w.pass()
	}
	stalled := w.condition(v1alpha1.ConditionStalled)
	w.Expect(stalled.Reason).To(Equal(reasonAddressLost))
	w.Expect(stalled.Message).To(ContainSubstring(address))
	w.Expect(w.gone(w.shard(), service)).To(BeTrue(), "no Service with another address")
	w.Expect(w.backend().Status.Shards[0].Address).To(Equal(address))
	w.get(w.shard(), &appsv1.StatefulSet{})

	w.Expect(w.c.Delete(t.Context(), thief)).To(Succeed())
	w.settle()
	w.get(w.shard(), service)
	w.Expect(service.Spec.ClusterIP).To(Equal(address))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

// A Service that was restored from a backup has another address; while there are mounts it must not pass for the right one.
func TestServiceWithAnotherAddress(t *testing.T) {
	for name, volumes := range map[string]int32{"in use": 1, "unused": 0} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(nil)
			w.ready(volumes)
			before := w.backend().Status.Shards[0].Address
			service := &corev1.Service{}
			w.get(w.shard(), service)
			w.Expect(w.c.Delete(t.Context(), service)).To(Succeed())
			service.ResourceVersion, service.UID, service.Spec.ClusterIP, service.Spec.ClusterIPs = "", "", "", nil
			w.Expect(w.c.Create(t.Context(), service)).To(Succeed())
			w.settle()
			if volumes == 0 {
				w.Expect(w.backend().Status.Shards[0].Address).To(Equal(service.Spec.ClusterIP))
				w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
				return
			}
			w.Expect(w.condition(v1alpha1.ConditionStalled).Reason).To(Equal(reasonAddressLost))
			w.Expect(w.backend().Status.Shards[0].Address).To(Equal(before))
			w.Expect(w.c.Delete(t.Context(), service)).To(Succeed())
			w.settle()
			w.get(w.shard(), service)
			w.Expect(service.Spec.ClusterIP).To(Equal(before))
		})
	}
}

// outdate changes the configuration of all servers, and lets the StatefulSets' controller see it.
func (w *world) outdate(shards int32) {
	w.t.Helper()
	w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.LeaseSeconds = 20 })
	w.pass()
	for number := range shards {
		w.observed(number)
	}
}

// TestAMountThatIsOfNoUseIsRenewed: by another pod, whatever the strategy for updates, and not again and again at once.
func TestAMountThatIsOfNoUseIsRenewed(t *testing.T) {
	w := newWorld(t)
	w.create(func(b *v1alpha1.NFSBackend) {
		onFilesystem(b)
		b.Spec.Server.UpdateStrategy.Type = v1alpha1.UpdateOnDelete
	})
	w.ready(1)
	w.events()
	failed := &agentv1.ServerStatus{Reason: agentv1.ReasonFilesystemFailed, ServerId: "server-1"}
	for range 2 {
		w.agents.status = failed
		w.settle()
		w.get(w.podKey(), &corev1.Pod{})
		w.Expect(w.events()).NotTo(ContainElement(ContainSubstring("ReplacingPod")), "it is too new")
		w.ahead += remountInterval
		w.agents.status = &agentv1.ServerStatus{Reason: agentv1.ReasonDiskFailed, ServerId: "server-1"}
		w.settle()
		w.get(w.podKey(), &corev1.Pod{})
		w.agents.status = failed
		w.settle()
		w.Expect(w.gone(w.podKey(), &corev1.Pod{})).To(BeTrue())
		w.Expect(w.events()).To(ContainElement(HavePrefix("Warning ReplacingPod Replacing the pod of " + w.shardKey(0).Name)))
		w.ahead = 0
		w.startPod()
	}
}

func TestRollingUpdateReplacesOnePodAtATime(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	w.r.Version = "v2" // the agents say "dev"
	w.outdate(2)
	w.settle()
	w.Expect(w.gone(w.podOf(0), &corev1.Pod{})).To(BeTrue())
	w.Expect(w.events()).To(ContainElement(Equal("Normal ReplacingPod Replacing the pod of " + w.shardKey(0).Name + " from version dev to v2")))
	w.get(w.podOf(1), &corev1.Pod{})
	w.Expect(w.condition(v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionUnknown))
	w.Expect(w.backend().Status.Shards[1].Outdated).To(BeTrue())

	// Its new pod runs, and is Ready for all that Kubernetes knows; but its agent does not serve yet.
	w.agents.of = map[string]*agentv1.ServerStatus{w.shardKey(0).Name: {Reason: "GaneshaStarting", ServerId: "server-1"}}
	w.startShard(0)
	w.settle()
	w.get(w.podOf(1), &corev1.Pod{})

	w.agents.of = nil
	updating := w.passUntilGone(w.podOf(1))
	w.Expect(updating).To(ContainSubstring("1 of 2 servers are still to be updated from version dev to v2"))
	w.startShard(1)
	w.settle()
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

func TestServersOfOtherBackendsAreReplacedInTurn(t *testing.T) {
	w := newWorld(t)
	w.readyShards(1)
	w.Expect(w.r.turn.take("other", "nfsd-0-other")).To(BeEmpty())
	w.outdate(1)
	w.settle()
	w.get(w.podOf(0), &corev1.Pod{})
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(HaveSuffix(", when server nfsd-0-other serves again"))

	w.r.turn.end("nfsd-0-other")
	w.passUntilGone(w.podOf(0))
	w.Expect(w.r.turn.take("other", "nfsd-0-other")).To(Equal(w.shardKey(0).Name))
	w.startShard(0)
	w.settle()
	w.Expect(w.r.turn.take("other", "nfsd-0-other")).To(BeEmpty())
}

func TestServersFollowTheStackAtAnUpgrade(t *testing.T) {
	w := newWorld(t)
	w.readyShards(1)
	w.r.Version = "v2"
	w.setStackVersion("v1")
	t.Cleanup(func() { w.setStackVersion("") })
	w.outdate(1)
	w.settle()
	w.get(w.podOf(0), &corev1.Pod{})
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(HaveSuffix("from version dev to v2, when the CSI driver runs version v2"))

	w.setStackVersion("v2")
	w.passUntilGone(w.podOf(0))
}

func (w *world) setStackVersion(version string) {
	w.t.Helper()
	ctx, driver := context.Background(), &v1alpha1.NFSDriver{} // also when the test is over
	w.Expect(w.c.Get(ctx, client.ObjectKey{Name: install.DriverName}, driver)).To(Succeed())
	driver.Status.Version = version
	w.Expect(w.c.Status().Update(ctx, driver)).To(Succeed())
}

// passUntilGone reconciles until the pod is deleted, and returns the last message of the update before.
func (w *world) passUntilGone(pod client.ObjectKey) string {
	w.t.Helper()
	message := ""
	for range 5 {
		w.pass()
		if ready := w.condition(v1alpha1.ConditionReady); ready.Reason == reasonUpdating {
			message = ready.Message
		}
		if w.gone(pod, &corev1.Pod{}) {
			return message
		}
	}
	w.t.Fatal("the pod is never replaced")
	return ""
}

// A version that does not start at all must not keep the version that mends it out.
func TestPodsThatDoNotServeAreReplacedWhateverTheOthersDo(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	w.agents.status = nil
	w.outdate(2)
	w.settle()
	w.Expect(w.gone(w.podOf(0), &corev1.Pod{})).To(BeTrue())
	w.Expect(w.gone(w.podOf(1), &corev1.Pod{})).To(BeTrue())
}

// kubeletReady is what a kubelet says of a server whose probe answers.
func (w *world) kubeletReady(number int32) {
	w.t.Helper()
	pod := &corev1.Pod{}
	w.get(w.podOf(number), pod)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	w.Expect(w.c.Status().Update(w.t.Context(), pod)).To(Succeed())
}

// A manager that is cut off from the agents must not restart servers that serve.
func TestReadyPodsThatCannotBeAskedAreNotReplacedTogether(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	for number := range int32(2) {
		w.kubeletReady(number)
	}
	w.agents.status = nil
	w.outdate(2)
	w.settle()
	w.get(w.podOf(0), &corev1.Pod{})
	w.get(w.podOf(1), &corev1.Pod{})
	w.Expect(w.backend().Status.ServingShards).To(Equal("0/2"))
}

func TestOneLostAnswerOfAReadyPodChangesNothing(t *testing.T) {
	w := newWorld(t)
	w.readyShards(1)
	w.kubeletReady(0)
	w.agents.lost = 1
	w.pass()
	w.Expect(w.agents.lost).To(BeZero())
	w.Expect(w.backend().Status.Shards[0].Serving).To(BeTrue())
	w.Expect(w.condition(v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionTrue))
	w.agents.lost = 2
	w.pass()
	w.Expect(w.backend().Status.Shards[0].Serving).To(BeFalse())
}

func TestReadyPodThatCannotBeAskedWaitsForTheMaintenanceWindow(t *testing.T) {
	w := newWorld(t)
	w.readyShards(1)
	w.kubeletReady(0)
	start := time.Now().UTC().Add(12 * time.Hour)
	w.change(func(b *v1alpha1.NFSBackend) {
		b.Spec.Server.UpdateStrategy.MaintenanceWindow = &v1alpha1.MaintenanceWindow{Start: start.Format("15:04"), DurationMinutes: 60}
	})
	w.agents.status = nil
	w.outdate(1)
	w.settle()
	w.get(w.podOf(0), &corev1.Pod{})
	w.ahead += 12*time.Hour + 30*time.Minute
	w.settle()
	w.Expect(w.gone(w.podOf(0), &corev1.Pod{})).To(BeTrue())
}

func TestOnDeleteLeavesPodsToAPerson(t *testing.T) {
	w := newWorld(t)
	w.readyShards(1)
	w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.UpdateStrategy.Type = v1alpha1.UpdateOnDelete })
	w.outdate(1)
	w.settle()
	w.get(w.podOf(0), &corev1.Pod{})
	w.Expect(w.backend().Status.Shards[0].Outdated).To(BeTrue())
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("when their pods are deleted"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

// Certificates end, and authorities change, while people look elsewhere.
func TestPausedBackendKeepsItsCertificate(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.annotate(meta.AnnotationPaused, "true")
	secret := &corev1.Secret{}
	w.get(w.shard(), secret)
	before := secret.DeepCopy()
	secret.Data[corev1.TLSCertKey], secret.Data[names.KeyCA] = []byte("ended"), []byte("former")
	w.Expect(w.c.Update(t.Context(), secret)).To(Succeed())
	w.settle()
	w.get(w.shard(), secret)
	w.Expect(string(secret.Data[corev1.TLSCertKey])).To(HavePrefix("-----BEGIN CERTIFICATE"))
	w.Expect(secret.Data[names.KeyCA]).To(Equal(before.Data[names.KeyCA]))
	w.Expect(w.condition(v1alpha1.ConditionPaused).Status).To(Equal(metav1.ConditionTrue))
}

func TestPausedBackendWithoutAServerGetsNoCertificate(t *testing.T) {
	w := newWorld(t)
	w.create(func(b *v1alpha1.NFSBackend) { b.Annotations = map[string]string{meta.AnnotationPaused: "true"} })
	w.settle()
	w.Expect(w.gone(w.shard(), &corev1.Secret{})).To(BeTrue())
}

func TestPausedBackendIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.annotate(meta.AnnotationPaused, "true")
	w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.LeaseSeconds = 20 })
	set := &appsv1.StatefulSet{}
	w.get(w.shard(), set)
	set.Spec.Replicas = new(int32(0))
	w.Expect(w.c.Update(t.Context(), set)).To(Succeed())
	w.settle()
	w.get(w.shard(), set)
	w.Expect(*set.Spec.Replicas).To(BeZero())
	w.Expect(w.condition(v1alpha1.ConditionPaused).Status).To(Equal(metav1.ConditionTrue))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus), "what was edited is not in force")
	w.agents.status = nil
	w.settle()
	w.Expect(w.backend().Status.Shards[0].Serving).To(BeFalse(), "the status goes on to tell the truth")

	w.agents.status = serving(1)
	w.annotate(meta.AnnotationPaused, "")
	w.settle()
	w.get(w.shard(), set)
	w.Expect(*set.Spec.Replicas).To(BeEquivalentTo(1))
}
