//go:build envtest

package nfsbackend

import (
	"context"
	"errors"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func (w *world) delete() {
	w.t.Helper()
	w.Expect(w.c.Delete(w.t.Context(), w.backend())).To(Succeed())
}

func (w *world) backendGone() bool {
	return w.gone(client.ObjectKey{Name: w.name}, &v1alpha1.NFSBackend{})
}

func TestDeletionWaitsForVolumesWhileServersRun(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(3)
	w.delete()
	w.settle()
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal("DeletionBlocked"))
	w.Expect(ready.Message).To(ContainSubstring("3 volumes"))

	set := &appsv1.StatefulSet{}
	w.get(w.shard(), set)
	w.Expect(w.c.Delete(t.Context(), set)).To(Succeed())
	w.settle()
	w.get(w.shard(), set) // children are still put back

	w.agents.status = nil
	w.settle()
	w.Expect(w.backendGone()).To(BeFalse(), "an agent that cannot be asked counts as in use")
}

func TestRetainKeepsTheDiskForAnotherBackendOfTheName(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	w.Expect(w.gone(w.shard(), &appsv1.StatefulSet{})).To(BeTrue())
	w.Expect(w.gone(w.shard(), &corev1.Service{})).To(BeTrue())
	w.Expect(w.gone(w.shard(), &corev1.Secret{})).To(BeTrue())
	w.Expect(w.gone(w.podKey(), &corev1.Pod{})).To(BeTrue())

	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	w.Expect(claim.DeletionTimestamp).To(BeNil())
	w.Expect(claim.Finalizers).NotTo(ContainElement(names.Finalizer), "its PersistentVolume is retained, so it may go")
	volume := &corev1.PersistentVolume{}
	w.get(client.ObjectKey{Name: "disk-" + w.name}, volume)
	w.Expect(volume.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))

	w.agents.status = nil
	w.create(func(b *v1alpha1.NFSBackend) {
		other := "another-class"
		b.Spec.Server.Storage.VolumeClaimTemplate.StorageClassName = &other
	})
	w.settle()
	w.get(w.claimKey(), claim)
	w.Expect(*claim.Spec.StorageClassName).To(Equal("local-block"))
	w.Expect(claim.Finalizers).To(ContainElement(names.Finalizer))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(BeEquivalentTo("True"), "the adopted disk may hold volumes")
}

// inUseLabels tells which guarded operands carry the label by which admission refuses their deletion.
func (w *world) inUseLabels() []string {
	w.t.Helper()
	var guarded []string
	claim, service := &corev1.PersistentVolumeClaim{}, &corev1.Service{}
	if !w.gone(w.claimKey(), claim) && claim.Labels[meta.LabelInUse] != "" {
		guarded = append(guarded, "claim")
	}
	if !w.gone(w.shard(), service) && service.Labels[meta.LabelInUse] != "" {
		guarded = append(guarded, "service")
	}
	return guarded
}

func TestEmptiedBackendGoesInSpiteOfTheDeleteGuards(t *testing.T) {
	for _, policy := range []v1alpha1.DeletionPolicy{v1alpha1.DeletionRetain, v1alpha1.DeletionDelete} {
		t.Run(string(policy), func(t *testing.T) {
			testenv.InstallPolicies(t)
			w := newWorld(t)
			w.create(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = policy })
			w.ready(3)
			w.Expect(w.inUseLabels()).To(Equal([]string{"claim", "service"}))
			w.Expect(w.c.Delete(t.Context(), w.backend())).To(MatchError(ContainSubstring("is in use")))

			// The last volume goes, and the backend right after it.
			backend := w.backend()
			backend.Annotations = map[string]string{names.AnnotationAllowDeletion: w.name}
			w.Expect(w.c.Update(t.Context(), backend)).To(Succeed())
			w.delete()
			w.agents.status = serving(0)
			w.settle()
			w.Expect(w.backendGone()).To(BeTrue())
			w.Expect(w.gone(w.shard(), &corev1.Service{})).To(BeTrue())
			w.Expect(w.inUseLabels()).To(BeEmpty(), "the retained claim may be deleted by hand")
			claim := &corev1.PersistentVolumeClaim{}
			if policy == v1alpha1.DeletionRetain {
				w.get(w.claimKey(), claim)
				w.Expect(claim.DeletionTimestamp).To(BeNil())
			} else if !w.gone(w.claimKey(), claim) {
				w.Expect(claim.DeletionTimestamp).NotTo(BeNil())
			}
		})
	}
}

// Another field manager (a restore from a backup) owns the label too, and every pass is cut off at its first deletion.
func TestDeletionThatWasCutOffGoesOn(t *testing.T) {
	testenv.InstallPolicies(t)
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	for _, obj := range []client.Object{&corev1.Service{}, &corev1.PersistentVolumeClaim{}} {
		key := w.shard()
		if _, ok := obj.(*corev1.PersistentVolumeClaim); ok {
			key = w.claimKey()
		}
		w.get(key, obj)
		obj.GetLabels()[meta.LabelInUse] = "true"
		w.Expect(w.c.Update(t.Context(), obj)).To(Succeed())
	}
	w.delete()
	whole := w.r.Client
	for range 13 {
		w.ahead += settleInterval
		once := false
		w.r.Client = interceptor.NewClient(whole.(client.WithWatch), interceptor.Funcs{
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				if once {
					return errors.New("cut off")
				}
				once = true
				return c.Delete(ctx, obj, opts...)
			},
		})
		request := reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}}
		if _, err := w.r.Reconcile(t.Context(), request); err != nil && !w.backendGone() {
			w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("DeletionFailed"))
		}
	}
	w.Expect(w.backendGone()).To(BeTrue())
	w.Expect(w.gone(w.shard(), &corev1.Service{})).To(BeTrue())
	w.Expect(w.inUseLabels()).To(BeEmpty())
}

func TestDeleteGivesTheDiskBack(t *testing.T) {
	w := newWorld(t)
	w.create(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.ready(0)
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	claim := &corev1.PersistentVolumeClaim{}
	if !w.gone(w.claimKey(), claim) { // Kubernetes' own finalizer, which nobody removes here
		w.Expect(claim.DeletionTimestamp).NotTo(BeNil())
		w.Expect(claim.Finalizers).NotTo(ContainElement(names.Finalizer))
	}
	volume := &corev1.PersistentVolume{}
	w.get(client.ObjectKey{Name: "disk-" + w.name}, volume)
	w.Expect(volume.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimDelete))
	w.Expect(volume.Labels).To(BeEmpty(), "it is not adopted by the next backend of this name")
	w.Expect(volume.Annotations).NotTo(HaveKey(meta.AnnotationServerID))
}

func TestBackendThatNeverGotADiskCanBeDeleted(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

func TestServerThatRunsUnseenIsNotTakenForUnused(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	w.bind()
	w.startPod()
	w.settle() // its agent has not been reached yet
	inUse := w.condition(v1alpha1.ConditionInUse)
	w.Expect(inUse.Status).To(BeEquivalentTo("True"))
	w.Expect(inUse.Reason).To(Equal("ServerUnreachable"))
	w.delete()
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("DeletionBlocked"))
	w.get(w.shard(), &appsv1.StatefulSet{})
	w.get(w.podKey(), &corev1.Pod{})

	w.agents.status = serving(0)
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

func TestServerThatNeverStartedIsUnused(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	w.startPod()
	pod := &corev1.Pod{}
	w.get(w.podKey(), pod)
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending, ContainerStatuses: []corev1.ContainerStatus{{
		Name: "server", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ImagePullBackOff"}},
	}}}
	w.Expect(w.c.Status().Update(t.Context(), pod)).To(Succeed())
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(BeEquivalentTo("False"))
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// The agent answers before the deletion that nothing of ours is on the disk, and is stopped for it then.
func TestServerOfAForeignDiskCanBeDeleted(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	w.bind()
	w.startPod()
	w.agents.status = &agentv1.ServerStatus{Reason: "DeviceNotBlank", Message: "the disk holds ext4, which is not ours"}
	w.settle()
	w.delete()
	for range 2 {
		w.pass()
		w.ahead += settleInterval
	}
	w.agents.status = nil // it stops
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// Nobody asked for the deletion of data that was there before the backend.
func TestForeignDiskIsNotDeletedWithTheBackend(t *testing.T) {
	w := newWorld(t)
	w.create(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
	w.settle()
	w.bind()
	w.startPod()
	w.agents.status = &agentv1.ServerStatus{Reason: "DeviceNotBlank", Message: "the disk holds ext4, which is not ours"}
	w.settle()
	w.delete()
	w.settle()
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal(reasonDeletionBlocked))
	w.Expect(ready.Message).To(ContainSubstring("set deletionPolicy to Retain"))
	disk := &corev1.PersistentVolume{}
	w.get(client.ObjectKey{Name: "disk-" + w.name}, disk)
	w.Expect(disk.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))

	w.change(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = v1alpha1.DeletionRetain })
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	w.get(client.ObjectKey{Name: "disk-" + w.name}, disk)
	w.Expect(disk.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
}

// pass is one call of Reconcile.
func (w *world) pass() reconcile.Result {
	w.t.Helper()
	result, err := w.r.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}})
	w.Expect(err).NotTo(HaveOccurred())
	w.checkStatus()
	return result
}

func TestEventsDoNotCutThePauseOfADeletionShort(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.delete()
	for range 5 { // events
		result := w.pass()
		w.Expect(result.RequeueAfter).To(And(BeNumerically(">", 0), BeNumerically("<=", settleInterval)))
	}
	w.get(w.shard(), &appsv1.StatefulSet{})
	w.get(w.podKey(), &corev1.Pod{})
	w.Expect(w.condition(v1alpha1.ConditionReleased).Status).To(BeEquivalentTo("False"))

	// A volume that was just being made is seen, and the pause begins anew.
	w.agents.status = serving(1)
	w.ahead += settleInterval
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
	w.get(w.shard(), &appsv1.StatefulSet{})
	w.agents.status = serving(0)
	w.pass()
	w.get(w.shard(), &appsv1.StatefulSet{})
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// A server that dies in the pause was not stopped by us: what it holds now is not known.
func TestServerThatDiesInThePauseKeepsTheBackend(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.delete()
	w.pass()
	w.agents.status = nil
	w.ahead += settleInterval
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
	w.get(w.shard(), &appsv1.StatefulSet{})
}

// crash has the only pod end with an error again and again.
func (w *world) crash() {
	w.t.Helper()
	pod := &corev1.Pod{}
	w.get(w.podKey(), pod)
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "server", RestartCount: 3,
		State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}},
		LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{ExitCode: 1}},
	}}
	w.Expect(w.c.Status().Update(w.t.Context(), pod)).To(Succeed())
}

func TestServerThatFailsFromItsFirstStart(t *testing.T) {
	for name, test := range map[string]struct {
		policy      v1alpha1.DeletionPolicy
		provisioned bool // the disk was made for the claim
		named       bool // a PersistentVolume names the server
		why         string
		gone        bool
	}{
		"on a new disk":                        {policy: v1alpha1.DeletionDelete, provisioned: true, gone: true, why: "its disk was made for it"},
		"on a disk that was there":             {policy: v1alpha1.DeletionDelete},
		"on a disk that was there and is kept": {policy: v1alpha1.DeletionRetain, gone: true, why: "its disk is kept"},
		"on a disk with volumes in use":        {policy: v1alpha1.DeletionRetain, named: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.create(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = test.policy })
			w.settle()
			w.bind()
			disk := &corev1.PersistentVolume{}
			w.get(client.ObjectKey{Name: "disk-" + w.name}, disk)
			if test.provisioned {
				disk.Annotations = map[string]string{"pv.kubernetes.io/provisioned-by": "disks.example.org"}
				w.Expect(w.c.Update(t.Context(), disk)).To(Succeed())
			}
			if test.named {
				volume := disk.DeepCopy()
				volume.ObjectMeta = metav1.ObjectMeta{Name: "volume-" + w.name}
				volume.Spec.ClaimRef, volume.Spec.VolumeMode = nil, nil
				volume.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: names.Driver, VolumeHandle: w.name + "/0/abc"}
				w.Expect(w.c.Create(t.Context(), volume)).To(Succeed())
			}
			w.startPod()
			w.crash()
			w.settle()
			w.delete()
			w.pass()
			if test.gone {
				_, why := w.inUse()
				w.Expect(why).To(Equal(reasonNeverServed))
				w.Expect(w.condition(v1alpha1.ConditionReady).Message).To(ContainSubstring(test.why))
			}
			w.settle()
			w.Expect(w.backendGone()).To(Equal(test.gone))
		})
	}
}

// A status can be restored from a backup that was made during a deletion.
func TestFormerDeletionReleasesNothing(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	b := w.backend()
	apimeta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionReleased, Status: metav1.ConditionTrue, Reason: reasonReleased, Message: "of a backup",
	})
	w.Expect(w.c.Status().Update(t.Context(), b)).To(Succeed())
	w.pass()
	w.Expect(apimeta.FindStatusCondition(w.backend().Status.Conditions, v1alpha1.ConditionReleased)).To(BeNil())
	w.agents.status = nil // which would count as stopped by us
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeFalse())
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
}

func TestPausedDeletionWaits(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.annotate(meta.AnnotationPaused, "true")
	w.delete()
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonPaused))
	w.annotate(meta.AnnotationPaused, "")
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
}

// annotate sets an annotation; an empty value takes it off.
func (w *world) annotate(key, value string) {
	w.t.Helper()
	w.change(func(b *v1alpha1.NFSBackend) {
		if b.Annotations == nil {
			b.Annotations = map[string]string{}
		}
		b.Annotations[key] = value
		if value == "" {
			delete(b.Annotations, key)
		}
	})
}

// docs/uninstall.md, "To take back a deletion that waits": the object is replaced, its servers are not.
func TestDeletionThatWaitsIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(3)
	service, pod := &corev1.Service{}, &corev1.Pod{}
	w.get(w.shard(), service)
	w.get(w.podKey(), pod)
	w.delete()
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))

	w.change(func(b *v1alpha1.NFSBackend) { b.Finalizers = nil })
	w.Expect(w.backendGone()).To(BeTrue())
	w.create(nil)
	w.settle()
	again, same := &corev1.Service{}, &corev1.Pod{}
	w.get(w.shard(), again)
	w.get(w.podKey(), same)
	w.Expect(again.UID).To(Equal(service.UID))
	w.Expect(same.UID).To(Equal(pod.UID))
	w.Expect(w.backend().Status.Shards[0].Address).To(Equal(service.Spec.ClusterIP))
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonServing))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(BeEquivalentTo("True"))
}
