//go:build envtest

package nfsbackend

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

func (w *world) events() []string { return testenv.Events(w.r.Recorder) }

// expectOneEvent: exactly one since the last call, of this kind and reason.
func (w *world) expectOneEvent(kind, word string) {
	w.t.Helper()
	w.Expect(w.events()).To(ConsistOf(HavePrefix(kind+" "+word+" ")), "an event for the transition, and no other")
}

// TestAgentsReasons: what the agent says is told in its words, as a failure where nothing goes on without a person, and by an event.
func TestAgentsReasons(t *testing.T) {
	outcomes := map[agentv1.Attention]struct {
		status status.Status
		event  string
	}{
		agentv1.Passes:      {status.InProgressStatus, corev1.EventTypeNormal},
		agentv1.Watch:       {status.InProgressStatus, corev1.EventTypeWarning},
		agentv1.NeedsPerson: {status.FailedStatus, corev1.EventTypeWarning},
	}
	want := map[agentv1.Attention][]string{
		agentv1.Passes: {"Starting", "Stopping", "Formatting", "GaneshaStarting"},
		agentv1.Watch: {
			"DeviceUnavailable", "MountFailed", "DiskFailed", "GaneshaFailed", "ShareUnreachable", "ShareLocked", "ShareFailed",
			"FilesystemFailed",
		},
		agentv1.NeedsPerson: {
			"DeviceNotBlank", "DeviceTooSmall", "FormatFailed", "NewerFormat", "HandleWouldChange", "RepairFailed", "DiskChanged",
			"FilesystemShared", "FilesystemUnsupported", "FilesystemNotEmpty", "FilesystemChanged", "FilesystemReadOnly",
			"ShareRefused", "SharePathMissing", "ShareOptions", "ShareReadOnly", "ShareRootSquashed", "ShareIDMapping", "ShareNotEmpty", "ShareOwned", "ShareChanged",
		},
	}
	count := 0
	for _, share := range []bool{false, true} {
		w := newWorld(t)
		if share {
			w.readyExternal(0)
		} else {
			w.create(nil)
			w.ready(0)
		}
		for attention, words := range want {
			for _, word := range words {
				if strings.HasPrefix(word, "Share") != share {
					continue
				}
				count++
				w.events()
				w.agents.status = &agentv1.ServerStatus{ServerId: "server-1", Reason: word, Message: "as the agent says"}
				w.settle()
				ready := w.condition(v1alpha1.ConditionReady)
				w.Expect(ready.Reason).To(Equal(word))
				w.Expect(ready.Message).To(HaveSuffix(": as the agent says"))
				w.Expect(kstatus(w)).To(Equal(outcomes[attention].status), word)
				w.Expect(w.backend().Status.Shards[0].Reason).To(Equal(word))
				w.expectOneEvent(outcomes[attention].event, word)

				w.agents.status.Message = "with another figure in it"
				w.settle()
				w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(HaveSuffix(": with another figure in it"))
				w.Expect(w.events()).To(BeEmpty(), "%s is no news", word)
			}
		}
		testenv.ReleaseDriver(t)
	}
	if count != len(agentv1.Attentions) {
		t.Errorf("the agent has %d reasons, and %d are tried", len(agentv1.Attentions), count)
	}
}

// An agent that comes and goes is told of each time, and no oftener, however often it is asked.
func TestEventsAreOfTransitionsOnly(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.events()
	for range 3 {
		w.agents.status = nil
		for range 3 {
			w.pass()
		}
		w.expectOneEvent(corev1.EventTypeNormal, reasonAgentUnreachable)
		w.agents.status = serving(1)
		for range 3 {
			w.agents.status.Volumes++ // figures are no transitions
			w.ahead += measureInterval
			w.pass()
		}
		w.expectOneEvent(corev1.EventTypeNormal, reasonServing)
	}
}

// TestPodsReasons: what Kubernetes says of a server's pod.
func TestPodsReasons(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.pass()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonCreatingDisk))
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonWaitingForDisk))
	w.bind()
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonPodMissing))
	w.startPod()
	for _, test := range []struct {
		word, says, event string
		pod               corev1.PodStatus
	}{
		{
			reasonPodUnscheduled, "0/3 nodes are available", corev1.EventTypeWarning,
			corev1.PodStatus{Phase: corev1.PodPending, Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "0/3 nodes are available",
			}}},
		},
		{
			reasonPodStarting, "the server's pod starts", corev1.EventTypeNormal,
			corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "server", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}},
			}}},
		},
		{
			reasonPodWaiting, "ErrImagePull: no such image", corev1.EventTypeNormal,
			corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
				Name: "server", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}},
			}}},
		},
		{
			reasonPodFailing, "exit code 3", corev1.EventTypeWarning,
			corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.2.3", ContainerStatuses: []corev1.ContainerStatus{{
				Name: "server", RestartCount: 3,
				State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
				LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 3}},
			}}},
		},
		{reasonAgentUnreachable, "does not answer", corev1.EventTypeNormal, corev1.PodStatus{Phase: corev1.PodRunning, PodIP: "10.1.2.3"}},
	} {
		t.Run(test.word, func(t *testing.T) {
			w.events()
			pod := &corev1.Pod{}
			w.get(w.podKey(), pod)
			pod.Status = test.pod
			w.Expect(w.c.Status().Update(t.Context(), pod)).To(Succeed())
			w.settle()
			ready := w.condition(v1alpha1.ConditionReady)
			w.Expect(ready.Reason).To(Equal(test.word))
			w.Expect(ready.Message).To(ContainSubstring(test.says))
			w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
			w.expectOneEvent(test.event, test.word)
		})
	}
}

func TestDeletedDiskStallsWhileItsServerRuns(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.events()
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	w.Expect(w.c.Delete(t.Context(), claim)).To(Succeed())
	w.settle()
	stalled := w.condition(v1alpha1.ConditionStalled)
	w.Expect(stalled.Reason).To(Equal(reasonDiskDeleted))
	w.Expect(stalled.Message).To(ContainSubstring(claim.Name + " is being deleted"))
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
	w.expectOneEvent(corev1.EventTypeWarning, reasonDiskDeleted)
	w.get(w.podKey(), &corev1.Pod{})
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue))
}

func TestFailedApplyIsToldAndPasses(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.events()
	whole := w.r.Client
	w.r.Client = interceptor.NewClient(whole.(client.WithWatch), interceptor.Funcs{
		Apply: func(context.Context, client.WithWatch, runtime.ApplyConfiguration, ...client.ApplyOption) error {
			return testenv.ErrInjected
		},
	})
	w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.LeaseSeconds = 20 })
	_, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}})
	w.Expect(errors.Is(err, testenv.ErrInjected)).To(BeTrue(), "%v", err)
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal(reasonApplyFailed))
	w.Expect(ready.Message).To(ContainSubstring("injected"))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	w.expectOneEvent(corev1.EventTypeWarning, reasonApplyFailed)
	w.r.Client = whole
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonUpdating))
}

// inUse is what the condition InUse says.
func (w *world) inUse() (metav1.ConditionStatus, string) {
	w.t.Helper()
	condition := w.condition(v1alpha1.ConditionInUse)
	return condition.Status, condition.Reason
}

// TestReasonsOfUse follows a backend from its making to its end.
func TestReasonsOfUse(t *testing.T) {
	w := newWorld(t)
	expect := func(status metav1.ConditionStatus, word string) {
		t.Helper()
		w.ahead += measureInterval // the message counts volumes
		w.settle()
		is, why := w.inUse()
		w.Expect(is).To(Equal(status))
		w.Expect(why).To(Equal(word))
	}
	w.create(nil)
	expect(metav1.ConditionFalse, reasonNeverServed)
	w.bind()
	w.startPod()
	expect(metav1.ConditionTrue, reasonServerUnreachable)
	w.agents.status = serving(0)
	expect(metav1.ConditionFalse, reasonEmpty)
	w.agents.status = serving(1)
	expect(metav1.ConditionTrue, reasonHoldsData)
	w.agents.status = serving(0)
	w.agents.status.Exports = 1
	expect(metav1.ConditionTrue, reasonHoldsData)
	w.Expect(w.condition(v1alpha1.ConditionInUse).Message).To(ContainSubstring("data in 1 static exports"))
	w.agents.status.Exports = 0
	expect(metav1.ConditionFalse, reasonEmpty)

	pod := &corev1.Pod{}
	w.get(w.podKey(), pod)
	pod.Finalizers = []string{"example.org/slow"} // a server that takes its time to stop
	w.Expect(w.c.Update(t.Context(), pod)).To(Succeed())
	w.events()
	w.delete()
	w.pass()
	w.Expect(w.condition(v1alpha1.ConditionReleased).Reason).To(Equal(reasonSettling))
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonReleased))
	w.expectOneEvent(corev1.EventTypeNormal, reasonReleased)
	w.ahead += settleInterval
	w.pass()
	w.Expect(w.condition(v1alpha1.ConditionReleased).Status).To(Equal(metav1.ConditionTrue))
	w.Expect(w.condition(v1alpha1.ConditionReleased).Reason).To(Equal(reasonReleased))
	expect(metav1.ConditionFalse, reasonReleased)
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal(reasonStoppingServers))
	w.Expect(ready.Message).To(Equal("waiting for 1 server pods to stop"))
	w.expectOneEvent(corev1.EventTypeNormal, reasonStoppingServers)
	w.get(w.shard(), &corev1.Service{})
	w.get(w.podKey(), pod)
	pod.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), pod)).To(Succeed())
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// TestTransitPorts: nodes whose connections come from any port are named.
func TestTransitPorts(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.Expect(w.condition(v1alpha1.ConditionUnprivilegedNodes).Reason).To(Equal(reasonPrivilegedPorts))
	w.agents.status.UnprivilegedNodes = []string{"node-7"}
	w.settle()
	condition := w.condition(v1alpha1.ConditionUnprivilegedNodes)
	w.Expect(condition.Status).To(Equal(metav1.ConditionTrue))
	w.Expect(condition.Reason).To(Equal(reasonAnyPort))
	w.Expect(condition.Message).To(ContainSubstring("node-7"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus), "it serves all the same")
	w.agents.status = nil
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionUnprivilegedNodes).Reason).To(Equal(reasonAnyPort), "what was known stays")
}

// TestSpaceUsed: a level is left five per cent below where it was entered.
func TestSpaceUsed(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	other := serving(0) // of the other server: half full
	other.Capacity.UsedBytes = other.Capacity.TotalBytes / 2
	w.agents.of = map[string]*agentv1.ServerStatus{w.shardKey(1).Name: other}
	for _, step := range []struct {
		percent int64
		want    v1alpha1.SpaceUsed
	}{
		{0, "Normal"},
		{79, "Normal"},
		{80, "High"},
		{75, "High"},
		{74, "Normal"},
		{79, "Normal"},
		{94, "High"},
		{95, "Full"},
		{90, "Full"},
		{89, "High"},
		{94, "High"},
		{100, "Full"},
		{74, "Normal"},
		{97, "Full"},
		{76, "High"},
	} {
		w.agents.status.Capacity.UsedBytes = w.agents.status.Capacity.TotalBytes * step.percent / 100
		w.settle()
		w.Expect(w.backend().Status.SpaceUsed).To(Equal(step.want), "at %d per cent", step.percent)
	}
	w.agents.status = &agentv1.ServerStatus{Reason: agentv1.ReasonGaneshaStarting}
	w.settle()
	w.Expect(w.backend().Status.SpaceUsed).To(Equal(v1alpha1.SpaceHigh), "the fullest disk is not known at the moment")
}

func TestTrashIsTold(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	const mebibyte = 1 << 20
	w.Expect(w.backend().Status.Trash.IsZero()).To(BeTrue())
	w.agents.status.TrashBytes = 99*mebibyte + 1
	w.ahead += measureInterval
	w.settle()
	w.Expect(w.backend().Status.Trash.String()).To(Equal("104Mi"), "rounded up to 8 MiB")
	w.Expect(w.backend().Status.Shards[0].Trash.String()).To(Equal("104Mi"))
	w.agents.status.TrashBytes -= 3*mebibyte + 1
	w.ahead += measureInterval
	w.settle()
	w.Expect(w.counter.Writes()).To(BeZero())
	w.Expect(w.backend().Status.Trash.String()).To(Equal("96Mi"))
}

// TestPodThatIsRefused: an admission that refuses a server's pod says so in an event of the StatefulSet alone.
func TestPodThatIsRefused(t *testing.T) {
	w := newWorld(t)
	started := time.Now()
	w.r.Now = func() time.Time { return started.Add(w.ahead) }
	w.create(nil)
	w.settle()
	reasonAfter := func(wait time.Duration) string {
		w.t.Helper()
		w.ahead += wait
		w.settle()
		return w.condition(v1alpha1.ConditionReady).Reason
	}
	w.Expect(reasonAfter(podlessFor-time.Second)).To(Equal(reasonWaitingForDisk), "the disk may need a pod before it is bound")
	w.events()
	w.Expect(reasonAfter(time.Second)).To(Equal(reasonPodNotCreated))
	w.expectOneEvent(corev1.EventTypeWarning, reasonPodNotCreated)
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring(
		"kubectl -n " + testenv.Namespace + " describe statefulset " + w.shard().Name))

	w.bind()
	w.settle() // notes things on the disk
	before := w.backend().ResourceVersion
	w.r.podless = absences{} // the manager is another one
	w.Expect(reasonAfter(time.Second)).To(Equal(reasonPodNotCreated))
	w.Expect(reasonAfter(time.Hour)).To(Equal(reasonPodNotCreated))
	w.Expect(w.backend().ResourceVersion).To(Equal(before), "the status is written again although nothing has changed")

	w.startPod()
	w.agents.status = serving(0)
	w.Expect(reasonAfter(0)).To(Equal(reasonServing))
	w.ahead += time.Hour
	pod := &corev1.Pod{}
	w.get(w.podKey(), pod)
	w.Expect(w.c.Delete(t.Context(), pod)).To(Succeed())
	w.Expect(reasonAfter(0)).To(Equal(reasonPodMissing), "a pod that was deleted a moment ago is not refused")
	w.Expect(reasonAfter(podlessFor - time.Second)).To(Equal(reasonPodMissing))

	set := &appsv1.StatefulSet{}
	w.get(w.shard(), set)
	w.annotate(meta.AnnotationPaused, "true")
	set.Spec.Replicas = new(int32(0))
	w.Expect(w.c.Update(t.Context(), set)).To(Succeed())
	w.Expect(reasonAfter(time.Hour)).To(Equal(reasonPodMissing), "a person has scaled it down")
}

func TestPodOfExternalAgentThatIsRefused(t *testing.T) {
	w := newWorld(t)
	w.create(external)
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonPodMissing))
	w.ahead += podlessFor
	w.settle()
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal(reasonPodNotCreated))
	w.Expect(ready.Message).To(ContainSubstring("describe replicaset --selector storage.nfs-operator.io/backend=" + w.name))
}
