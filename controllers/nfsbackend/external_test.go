//go:build envtest

package nfsbackend

import (
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func external(b *v1alpha1.NFSBackend) {
	b.Spec.Server, b.Spec.External = nil, &v1alpha1.ExternalServer{Server: "nas.example.org", Path: "/export"}
}

// startAgent does what the controllers of Deployments and ReplicaSets and a kubelet would: the former pod goes first.
func (w *world) startAgent(name string) client.ObjectKey {
	w.t.Helper()
	deployment := &appsv1.Deployment{}
	w.get(w.shard(), deployment)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: deployment.Name + "-" + name, Namespace: deployment.Namespace,
			Labels: deployment.Spec.Template.Labels, Annotations: deployment.Spec.Template.Annotations,
		},
		Spec: deployment.Spec.Template.Spec,
	}
	pod.Spec.ServiceAccountName = ""
	pod.Spec.TerminationGracePeriodSeconds = new(int64(0)) // no kubelet will confirm its end
	w.Expect(w.c.Create(w.t.Context(), pod)).To(Succeed())
	pod.Status.Phase, pod.Status.PodIP = corev1.PodRunning, "10.1.2."+name
	w.Expect(w.c.Status().Update(w.t.Context(), pod)).To(Succeed())
	return client.ObjectKeyFromObject(pod)
}

func (w *world) stopPod(key client.ObjectKey) {
	w.t.Helper()
	w.Expect(w.c.Delete(w.t.Context(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}})).To(Succeed())
}

// mounted is what an agent says that has mounted a share without quotas and clones.
func mounted(volumes int32) *agentv1.ServerStatus {
	s := serving(volumes)
	s.GaneshaVersion, s.Capabilities = "", &agentv1.Capabilities{Xattrs: true}
	return s
}

func (w *world) readyExternal(volumes int32) client.ObjectKey {
	w.t.Helper()
	w.create(external)
	w.settle()
	pod := w.startAgent("1")
	w.agents.status = mounted(volumes)
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionTrue))
	return pod
}

// agentConfig is what the agent would read.
func (w *world) agentConfig() *config.External {
	w.t.Helper()
	configMap := &corev1.ConfigMap{}
	w.get(w.shard(), configMap)
	var c config.Config
	w.Expect(yaml.UnmarshalStrict([]byte(configMap.Data[names.KeyAgentConfig]), &c)).To(Succeed())
	return c.External
}

func TestExternalBackendBecomesReady(t *testing.T) {
	w := newWorld(t)
	w.create(external)
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("PodMissing"))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionFalse))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	for _, obj := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{}} {
		w.get(w.shard(), obj)
		w.Expect(obj.GetOwnerReferences()).To(BeEmpty(), "%T", obj)
		w.Expect(obj.GetLabels()).To(HaveKeyWithValue(names.LabelBackend, w.name), "%T", obj)
		w.Expect(obj.GetLabels()).To(HaveKeyWithValue(names.LabelComponent, names.ComponentExternal), "%T", obj)
	}
	for key, obj := range map[client.ObjectKey]client.Object{
		w.shard():    &appsv1.StatefulSet{},
		w.claimKey(): &corev1.PersistentVolumeClaim{},
		{Namespace: w.r.Namespace, Name: "nfsd-" + w.name}: &policyv1.PodDisruptionBudget{},
	} {
		w.Expect(w.gone(key, obj)).To(BeTrue(), "an external backend has a %T", obj)
	}
	system := &corev1.Namespace{}
	w.get(client.ObjectKey{Name: metav1.NamespaceSystem}, system)
	w.Expect(*w.agentConfig()).To(Equal(config.External{Server: "nas.example.org", Path: "/export", Owner: string(system.UID) + "/" + w.name}))

	pod := &corev1.Pod{}
	w.get(w.startAgent("1"), pod)
	pod.Status.Phase = corev1.PodPending
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "agent", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull", Message: "no such image"}},
	}}
	w.Expect(w.c.Status().Update(t.Context(), pod)).To(Succeed())
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(HaveSuffix("the agent's container waits: ErrImagePull: no such image"))
	pod.Status.Phase, pod.Status.ContainerStatuses = corev1.PodRunning, nil
	w.Expect(w.c.Status().Update(t.Context(), pod)).To(Succeed())
	w.agents.status = mounted(2)
	w.settle()
	w.Expect(w.agents.hosts).To(ContainElement("10.1.2.1"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(Equal("the agent has mounted the share /export of nas.example.org"))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Message).To(ContainSubstring("2 volumes"))
	w.Expect(w.agentConfig().ServerID).To(Equal("server-1"), "another share is refused from now on")

	got := w.backend().Status
	w.Expect(got.Capacity.String()).To(Equal("10Gi"))
	w.Expect(*got.Volumes).To(BeEquivalentTo(2))
	w.Expect(got.ServingShards).To(Equal("1/1"))
	service := &corev1.Service{}
	w.get(w.shard(), service)
	w.Expect(got.Shards[0].Address).To(Equal(service.Spec.ClusterIP))
	var lacks []string
	for _, limitation := range got.Limitations {
		lacks = append(lacks, limitation.Capability)
		w.Expect(limitation.Reason).NotTo(BeEmpty())
	}
	w.Expect(lacks).To(Equal([]string{"Quota", "Snapshots", "Fencing", "Squash"}))

	w.settle()
	w.Expect(w.counter.Writes()).To(BeZero())
	w.agents.status = &agentv1.ServerStatus{Reason: "ShareUnreachable", Message: "nas.example.org does not answer"}
	w.settle()
	w.Expect(w.backend().Status.Limitations).To(Equal(got.Limitations), "what was known stays")
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("nas.example.org does not answer"))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue), "it cannot be asked")
}

func TestShareThatCannotBeUsedStallsWithTheAgentsWords(t *testing.T) {
	for _, word := range []string{agentv1.ReasonShareOwned, agentv1.ReasonNewerFormat} { // reasons_test.go has them all
		t.Run(word, func(t *testing.T) {
			w := newWorld(t)
			w.create(external)
			w.settle()
			w.startAgent("1")
			w.agents.status = &agentv1.ServerStatus{Reason: word, Message: "root is nobody there", ServerId: "of-another"}
			w.settle()
			ready := w.condition(v1alpha1.ConditionReady)
			w.Expect(ready.Status).To(Equal(metav1.ConditionFalse))
			w.Expect(ready.Reason).To(Equal(word))
			w.Expect(ready.Message).To(HaveSuffix("root is nobody there"))
			w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
			w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionFalse), "it has never had a volume")
			w.Expect(w.backend().Status.Shards[0].ServerID).To(BeEmpty())
			w.Expect(w.agentConfig().ServerID).To(BeEmpty(), "with another share it begins")
		})
	}
}

// What the agent finds in the place of a share must not become the share: it would be served, without a volume.
func TestIdentityOfAShareIsKept(t *testing.T) {
	w := newWorld(t)
	w.readyExternal(1)
	w.agents.status = &agentv1.ServerStatus{Reason: "ShareChanged", Message: "another share", ServerId: "of-another"}
	w.settle()
	w.Expect(w.agentConfig().ServerID).To(Equal("server-1"))
	w.Expect(w.backend().Status.Shards[0].ServerID).To(Equal("server-1"))
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue))
}

// An agent that was started before the identity was known begins a server on the empty mount point that a NAS exports after
// its reboot. With the identity of that one the real share would be refused.
func TestIdentityOfAShareIsNotReplaced(t *testing.T) {
	w := newWorld(t)
	pod := w.readyExternal(1)
	w.agents.status = mounted(0)
	w.agents.status.ServerId = "begun-anew"
	w.pass()
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("ShareChanged"))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(And(ContainSubstring("begun-anew"), ContainSubstring("server-1")))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue), "the volumes are on the other share")
	got := w.backend().Status.Shards[0]
	w.Expect(got.ServerID).To(Equal("server-1"))
	w.Expect(got.Serving).To(BeFalse(), "a volume would be made there")
	w.Expect(*got.Volumes).To(BeEquivalentTo(1))
	w.Expect(w.agentConfig().ServerID).To(Equal("server-1"))
	w.Expect(w.gone(pod, &corev1.Pod{})).To(BeTrue(), "it would not notice that the real share is back")

	w.agents.status = mounted(1)
	w.startAgent("2")
	w.settle()
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

// What is free on a share changes with each byte that anybody writes to it.
func TestUseOfAShareIsNotAStreamOfWrites(t *testing.T) {
	w := newWorld(t)
	w.readyExternal(1)
	before := w.backend()
	const mebibyte = 1 << 20
	for range 10 {
		w.agents.status.Capacity.TotalBytes -= 8 * mebibyte
		w.agents.status.Capacity.AvailableBytes -= 40 * mebibyte
		w.ahead += measureInterval
		w.settle()
	}
	w.Expect(w.backend().ResourceVersion).To(Equal(before.ResourceVersion))

	w.agents.status.Capacity.AvailableBytes -= 80 * mebibyte
	w.ahead += measureInterval
	w.settle()
	got := w.backend().Status
	w.Expect(got.Shards[0].Available.Value()).To(BeEquivalentTo(8728*mebibyte), "a twentieth is told")
	w.Expect(got.Capacity.String()).To(Equal("10Gi"))
	w.agents.status.Capacity.AvailableBytes = 0
	w.ahead += measureInterval
	w.settle()
	w.Expect(w.backend().Status.Shards[0].Available.IsZero()).To(BeTrue(), "no volume can be made")
}

func TestEditedAndDeletedOperandsOfAnExternalBackendArePutBack(t *testing.T) {
	w := newWorld(t)
	w.readyExternal(1)
	deployment := &appsv1.Deployment{}
	operands := []operand{{
		name: "Deployment", key: w.shard(), obj: deployment,
		edit: func() {
			deployment.Spec.Replicas = new(int32(2))
			deployment.Spec.Template.Spec.Containers[0].Image = "example.org/other"
			deployment.Spec.Strategy = appsv1.DeploymentStrategy{Type: appsv1.RollingUpdateDeploymentStrategyType}
		},
		restored: func() {
			w.Expect(*deployment.Spec.Replicas).To(BeEquivalentTo(1))
			w.Expect(deployment.Spec.Template.Spec.Containers[0].Image).To(Equal(w.r.Image))
			w.Expect(deployment.Spec.Strategy.Type).To(Equal(appsv1.RecreateDeploymentStrategyType), "two agents must not work on one share")
		},
	}}
	for _, o := range w.operands() {
		if o.name == "Service" || o.name == "ConfigMap" || o.name == "Secret" {
			operands = append(operands, o)
		}
	}
	w.Expect(operands).To(HaveLen(4))
	for _, o := range operands {
		t.Run(o.name, func(t *testing.T) {
			w.get(o.key, o.obj)
			o.edit()
			w.Expect(w.c.Update(t.Context(), o.obj)).To(Succeed())
			w.settle()
			w.get(o.key, o.obj)
			o.restored()
			w.Expect(w.c.Delete(t.Context(), o.obj)).To(Succeed())
			w.settle()
			w.get(o.key, o.obj)
			o.restored()
		})
	}
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

func TestNobodyHasMountedFromTheAgentsAddress(t *testing.T) {
	w := newWorld(t)
	w.readyExternal(1)
	service := &corev1.Service{}
	w.get(w.shard(), service)
	taken := service.Spec.ClusterIP
	w.Expect(w.c.Delete(t.Context(), service)).To(Succeed())
	other := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "thief-of-" + w.name},
		Spec:       corev1.ServiceSpec{ClusterIP: taken, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	w.Expect(w.c.Create(t.Context(), other)).To(Succeed())
	w.settle()
	w.get(w.shard(), service)
	w.Expect(service.Spec.ClusterIP).NotTo(Equal(taken))
	w.Expect(w.backend().Status.Shards[0].Address).To(Equal(service.Spec.ClusterIP))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

func TestChangedShareReplacesTheAgent(t *testing.T) {
	w := newWorld(t)
	former := w.readyExternal(1)
	w.change(func(b *v1alpha1.NFSBackend) {
		b.Spec.External.Server = "192.0.2.7"
		b.Annotations = map[string]string{meta.AnnotationTakeOverShare: "another/" + w.name}
	})
	w.settle()
	w.Expect(w.agentConfig().Server).To(Equal("192.0.2.7"))
	w.Expect(w.agentConfig().TakeOver).To(Equal("another/" + w.name))
	w.Expect(w.agentConfig().ServerID).To(Equal("server-1"))
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonUpdating))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	w.Expect(w.gone(former, &corev1.Pod{})).To(BeFalse(), "the Deployment's controller replaces it")

	w.stopPod(former)
	w.startAgent("2")
	w.settle()
	w.Expect(w.agents.hosts[len(w.agents.hosts)-1]).To(Equal("10.1.2.2"))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("192.0.2.7"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

// An agent is not replaced by one that would refuse its configuration.
func TestConfigurationThatTheAgentWouldRefuseIsNotApplied(t *testing.T) {
	w := newWorld(t)
	w.readyExternal(1)
	before := &appsv1.Deployment{}
	w.get(w.shard(), before)
	w.change(func(b *v1alpha1.NFSBackend) {
		b.Annotations = map[string]string{meta.AnnotationTakeOverShare: "of another"}
		b.Spec.External.Path = "/other"
	})
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("ShareOptions"))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("of another"))
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
	w.Expect(w.backend().Status.Shards[0].Serving).To(BeTrue())
	w.Expect(w.agentConfig().Path).To(Equal("/export"))
	w.Expect(w.agentConfig().TakeOver).To(BeEmpty())
	after := &appsv1.Deployment{}
	w.get(w.shard(), after)
	w.Expect(after.Generation).To(Equal(before.Generation))

	w.change(func(b *v1alpha1.NFSBackend) { b.Annotations[meta.AnnotationTakeOverShare] = "another" })
	w.settle()
	w.Expect(w.agentConfig().Path).To(Equal("/other"))
	w.Expect(w.agentConfig().TakeOver).To(Equal("another"))
}

func TestTheAgentsPodIsTheOneThatStays(t *testing.T) {
	w := newWorld(t)
	evicted := w.readyExternal(1)
	pod := &corev1.Pod{}
	w.get(evicted, pod)
	pod.Status.Phase, pod.Status.PodIP = corev1.PodFailed, ""
	w.Expect(w.c.Status().Update(t.Context(), pod)).To(Succeed())
	w.startAgent("2")
	w.settle()
	w.Expect(w.agents.hosts[len(w.agents.hosts)-1]).To(Equal("10.1.2.2"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

func TestPausedExternalBackendIsLeftAlone(t *testing.T) {
	w := newWorld(t)
	w.readyExternal(1)
	w.change(func(b *v1alpha1.NFSBackend) {
		b.Annotations = map[string]string{meta.AnnotationPaused: "true"}
		b.Spec.External.Path = "/other"
	})
	w.settle()
	w.Expect(w.agentConfig().Path).To(Equal("/export"))
	w.Expect(w.condition(v1alpha1.ConditionPaused).Status).To(Equal(metav1.ConditionTrue))
	secret := &corev1.Secret{}
	w.get(w.shard(), secret)
	w.Expect(w.c.Delete(t.Context(), secret)).To(Succeed())
	w.settle()
	w.get(w.shard(), secret) // certificates stay valid
	w.change(func(b *v1alpha1.NFSBackend) { b.Annotations = nil })
	w.settle()
	w.Expect(w.agentConfig().Path).To(Equal("/other"))
}

func TestDeletionOfAnExternalBackendWaitsForVolumes(t *testing.T) {
	testenv.InstallPolicies(t)
	w := newWorld(t)
	pod := w.readyExternal(2)
	w.Expect(w.c.Delete(t.Context(), w.backend())).To(MatchError(ContainSubstring("is in use")))
	w.change(func(b *v1alpha1.NFSBackend) { b.Annotations = map[string]string{names.AnnotationAllowDeletion: w.name} })
	w.delete()
	w.settle()
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal("DeletionBlocked"))
	w.Expect(ready.Message).To(ContainSubstring("2 volumes"))
	deployment := &appsv1.Deployment{}
	w.get(w.shard(), deployment)
	w.Expect(w.c.Delete(t.Context(), deployment)).To(Succeed())
	w.settle()
	w.get(w.shard(), deployment) // children are still put back

	w.agents.status = mounted(0)
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	for _, obj := range []client.Object{&appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{}} {
		w.Expect(w.gone(w.shard(), obj)).To(BeTrue(), "%T", obj)
	}
	w.Expect(w.gone(pod, &corev1.Pod{})).To(BeTrue())
}

// A NAS that is gone for good must not hold its NFSBackend for ever; what needs it does.
func TestDeletionOfAnExternalBackendWhoseShareIsGone(t *testing.T) {
	testenv.InstallPolicies(t)
	testenv.InstallSnapshotCRDs(t)
	w := newWorld(t)
	w.readyExternal(2)
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "pv-of-" + w.name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: names.Driver, VolumeHandle: w.name + "/0/aaaaaaaaaaaaaaaa",
			}},
		},
	}
	w.Expect(w.c.Create(t.Context(), volume)).To(Succeed())
	snapshot := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": "content-of-" + w.name},
		"spec":     map[string]any{"driver": names.Driver},
		"status":   map[string]any{"snapshotHandle": w.name + "/0/snap-aaaaaaaaaaaaaaaa"},
	}}
	snapshot.SetGroupVersionKind(snapshots.Contents)
	w.Expect(w.c.Create(t.Context(), snapshot)).To(Succeed())
	w.agents.status = &agentv1.ServerStatus{ServerId: "server-1", Reason: "ShareUnreachable", Message: "nas.example.org does not answer"}
	w.settle()
	w.Expect(w.c.Delete(t.Context(), w.backend())).To(MatchError(And(ContainSubstring("is in use"), ContainSubstring("allow-deletion"))))
	w.change(func(b *v1alpha1.NFSBackend) { b.Annotations = map[string]string{names.AnnotationAllowDeletion: w.name} })
	w.delete()
	w.ahead += silentFor
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("DeletionBlocked"))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("does not answer"))

	w.Expect(w.c.Get(t.Context(), client.ObjectKeyFromObject(volume), volume)).To(Succeed())
	volume.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), volume)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), volume)).To(Succeed())
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("DeletionBlocked"), "a snapshot names it")

	w.Expect(w.c.Delete(t.Context(), snapshot)).To(Succeed())
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// The volumes of an agent that is merely away are not forgotten: archived ones have no PersistentVolume.
func TestDeletionOfAnExternalBackendWhoseAgentIsAway(t *testing.T) {
	w := newWorld(t)
	pod := w.readyExternal(2)
	w.delete()
	w.stopPod(pod)
	for range 3 {
		w.settle()
		w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("DeletionBlocked"))
		w.ahead += silentFor/3 - time.Second
	}
	w.settle()
	w.startAgent("2")
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("2 volumes"))

	w.agents.status = nil
	w.ahead += time.Minute
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("DeletionBlocked"), "the wait begins anew")
	w.ahead += silentFor
	w.pass()
	used, why := w.inUse()
	w.Expect(used).To(Equal(metav1.ConditionFalse))
	w.Expect(why).To(Equal(reasonUnused))
	w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring("what lies on the share stays there"))
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// What was found of a backend's agent is not held against the agent of another one of the name.
func TestSilenceOfAFormerAgentIsForgotten(t *testing.T) {
	w := newWorld(t)
	pod := w.readyExternal(0)
	w.agents.status = nil
	w.settle()
	w.change(func(b *v1alpha1.NFSBackend) { b.Finalizers = nil }) // by hand
	w.delete()
	w.pass()
	w.Expect(w.backendGone()).To(BeTrue())
	w.stopPod(pod)
	w.ahead += silentFor

	w.create(external)
	w.settle()
	w.startAgent("2")
	w.settle()
	w.delete()
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
	w.ahead += silentFor
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}
