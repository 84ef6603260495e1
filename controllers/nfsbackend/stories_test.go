//go:build envtest

package nfsbackend

import (
	"context"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func kstatus(w *world) status.Status {
	w.t.Helper()
	return testenv.KStatus(w.t, w.backend())
}

func TestBackendBecomesReady(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()

	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Status).To(Equal(metav1.ConditionUnknown))
	w.Expect(ready.Reason).To(Equal("WaitingForDisk"))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	for _, obj := range []client.Object{
		&appsv1.StatefulSet{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{},
	} {
		w.get(w.shard(), obj)
		w.Expect(obj.GetOwnerReferences()).To(BeEmpty(), "%T", obj)
		w.Expect(obj.GetLabels()).To(HaveKeyWithValue(names.LabelBackend, w.name), "%T", obj)
	}
	w.get(client.ObjectKey{Namespace: w.r.Namespace, Name: "nfsd-" + w.name}, &policyv1.PodDisruptionBudget{})

	w.bind()
	w.startPod()
	w.agents.status = serving(2)
	w.settle()
	w.Expect(w.agents.hosts).To(ContainElement("10.1.2.3"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))

	got := w.backend().Status
	w.Expect(got.Capacity.String()).To(Equal("10Gi"))
	w.Expect(got.Allocated.String()).To(Equal("2056Mi"), "rounded up to 8 MiB, a thousandth of the disk")
	w.Expect(got.Shards).To(HaveLen(1))
	w.Expect(got.Shards[0].Serving).To(BeTrue())
	w.Expect(got.Shards[0].Address).NotTo(BeEmpty())
	w.Expect(got.Shards[0].Available.String()).To(Equal("9208Mi"))
	w.Expect(*got.Volumes).To(BeEquivalentTo(2))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue))
}

func TestWaitingForTheAuthorityIsNoWarning(t *testing.T) {
	w := newWorld(t)
	ca := &corev1.Secret{}
	w.get(client.ObjectKey{Namespace: w.r.Namespace, Name: names.SecretCA}, ca)
	w.Expect(w.c.Delete(t.Context(), ca)).To(Succeed())
	t.Cleanup(func() {
		ca.ResourceVersion = ""
		w.Expect(w.c.Create(context.Background(), ca)).To(Succeed())
	})
	recorder := testenv.Recorder()
	w.r.Recorder = recorder
	w.create(nil)
	result, err := testenv.Settle(t, w.r, w.counter, w.name)
	w.Expect(err).NotTo(HaveOccurred())
	w.Expect(result.RequeueAfter).To(Equal(authorityInterval))
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("WaitingForCertificates"))
	w.Expect(<-recorder.Events).To(HavePrefix("Normal WaitingForCertificates "))
	w.Expect(recorder.Events).To(BeEmpty())
}

func TestNothingIsWrittenWhenNothingChanged(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	for range 3 {
		_, err := w.r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}})
		w.Expect(err).NotTo(HaveOccurred())
	}
	w.Expect(w.counter.Writes()).To(BeZero())
}

func TestDiskIsProtectedAsSoonAsItIsBound(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	volume := &corev1.PersistentVolume{}
	w.get(client.ObjectKey{Name: "disk-" + w.name}, volume)
	w.Expect(volume.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
	w.Expect(volume.Annotations).To(HaveKeyWithValue(meta.AnnotationReclaimPolicy, "Delete"))
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	w.Expect(claim.Finalizers).To(ContainElement(names.Finalizer))
	w.Expect(*claim.Spec.VolumeMode).To(Equal(corev1.PersistentVolumeBlock))
	w.Expect(claim.Annotations).To(HaveKeyWithValue(meta.AnnotationServerID, "server-1"))
}

func TestLostServiceComesBackWithItsAddress(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	before := w.backend().Status.Shards[0].Address
	service := &corev1.Service{}
	w.get(w.shard(), service)
	w.Expect(w.c.Delete(t.Context(), service)).To(Succeed())
	w.settle()
	w.get(w.shard(), service)
	w.Expect(service.Spec.ClusterIP).To(Equal(before))
	w.Expect(service.Spec.PublishNotReadyAddresses).To(BeTrue())
}

func TestChangedConfigurationReplacesThePod(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	backend := w.backend()
	backend.Spec.Server.LeaseSeconds = 20
	w.Expect(w.c.Update(t.Context(), backend)).To(Succeed())
	w.settle()
	w.Expect(w.gone(w.podKey(), &corev1.Pod{})).To(BeFalse(), "the StatefulSet's controller has not seen the new template yet")
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonUpdating))

	set := &appsv1.StatefulSet{}
	w.get(w.shard(), set)
	set.Status.ObservedGeneration = set.Generation
	w.Expect(w.c.Status().Update(t.Context(), set)).To(Succeed())
	w.settle()
	w.Expect(w.gone(w.podKey(), &corev1.Pod{})).To(BeTrue())
	config := &corev1.ConfigMap{}
	w.get(w.shard(), config)
	w.Expect(config.Data[names.KeyAgentConfig]).To(ContainSubstring("leaseSeconds: 20"))
}

func TestForeignDiskStallsWithTheAgentsWords(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	w.bind()
	w.startPod()
	w.agents.status = &agentv1.ServerStatus{Reason: "DeviceNotBlank", Message: "the disk holds ext4, which is not ours"}
	w.settle()
	stalled := w.condition(v1alpha1.ConditionStalled)
	w.Expect(stalled.Status).To(Equal(metav1.ConditionTrue))
	w.Expect(stalled.Message).To(ContainSubstring("holds ext4"))
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionFalse), "nothing of ours was ever on that disk")
}

func TestUnreachableAgentCountsAsInUse(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionFalse))
	w.agents.status = nil
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue))
	w.Expect(w.condition(v1alpha1.ConditionReady).Status).To(Equal(metav1.ConditionUnknown))
	w.Expect(w.backend().Status.Capacity.String()).To(Equal("10Gi"), "what was known stays")
}

func TestAnotherInstallationStandsAside(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.r.Claim.Namespace = "elsewhere"
	w.settle()
	w.Expect(w.backend().Finalizers).To(BeEmpty())
	w.Expect(w.gone(w.shard(), &appsv1.StatefulSet{})).To(BeTrue())
}
