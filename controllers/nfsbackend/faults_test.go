//go:build envtest

package nfsbackend

import (
	"context"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// suffering is a world in which calls of the reconciler fail.
type suffering struct {
	*world
	f *testenv.Fault
	// keeps are the servers of which nothing may be deleted, with their addresses.
	keeps map[int32]string
}

func newSuffering(t *testing.T, f *testenv.Fault) *suffering {
	t.Helper()
	w := &suffering{world: newWorld(t), f: f}
	w.r.Client = f.Client(w.r.Client.(client.WithWatch))
	w.r.Uncached, w.r.Claim.Client = w.r.Client, w.r.Client
	return w
}

// suffer settles while each write fails once more, and each other call that has not failed yet.
func (w *suffering) suffer() {
	w.t.Helper()
	w.f.WritesAgain()
	w.rest()
}

// rest settles with what has not failed yet.
func (w *suffering) rest() {
	w.t.Helper()
	for {
		result := w.f.Settle(w.t, w.r, w.counter, w.name, w.interrupted)
		w.checkStatus()
		if w.backendGone() || result.RequeueAfter > settleInterval || w.backend().DeletionTimestamp.IsZero() {
			return
		}
		w.ahead += settleInterval // nothing but the deletion's pause is waited for
	}
}

// interrupted checks what others see after a pass that was cut off. A manager whose last answer was lost died, and forgot.
func (w *suffering) interrupted(err error) {
	w.t.Helper()
	w.checkStatus()
	if w.f.Kind == testenv.Lost {
		w.r = &Reconciler{
			Client: w.r.Client, Uncached: w.r.Uncached, Recorder: w.r.Recorder, Agents: w.r.Agents, Claim: w.r.Claim,
			Namespace: w.r.Namespace, Image: w.r.Image, Now: w.r.Now,
		}
	}
	for number, address := range w.keeps {
		service, claim := &corev1.Service{}, &corev1.PersistentVolumeClaim{}
		w.get(w.shardKey(number), service)
		w.Expect(service.Spec.ClusterIP).To(Equal(address))
		if w.backend().Spec.Server == nil {
			w.get(w.shardKey(number), &appsv1.Deployment{})
			continue
		}
		w.get(w.shardKey(number), &appsv1.StatefulSet{})
		w.get(w.claimOf(number), claim)
		w.Expect(claim.DeletionTimestamp).To(BeNil())
	}
	if w.f.Kind != testenv.Conflict {
		return
	}
	w.Expect(err).NotTo(HaveOccurred(), "a cache that is behind is no error")
	if !w.backendGone() {
		if ready := apimeta.FindStatusCondition(w.backend().Status.Conditions, v1alpha1.ConditionReady); ready != nil {
			w.Expect(ready.Reason).NotTo(BeElementOf(reasonApplyFailed, reasonDeletionFailed), "nor a thing to tell people: %s", ready.Message)
		}
	}
}

// keep has the servers watched that there are.
func (w *suffering) keep() {
	w.t.Helper()
	w.keeps = map[int32]string{}
	for _, shard := range w.backend().Status.Shards {
		w.keeps[shard.Shard] = shard.Address
	}
}

func (w *suffering) expectServing(shards string) {
	w.t.Helper()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonServing))
	w.Expect(w.backend().Status.ServingShards).To(Equal(shards))
}

// deleteSuffering deletes the backend, and settles while each call fails once more.
func (w *suffering) deleteSuffering() {
	w.t.Helper()
	w.delete()
	w.f.Again()
	w.suffer()
}

// expectNothingLeft: but the disks.
func (w *suffering) expectNothingLeft(shards int32) {
	w.t.Helper()
	w.Expect(w.backendGone()).To(BeTrue())
	for number := range shards {
		for _, obj := range []client.Object{
			&appsv1.StatefulSet{}, &appsv1.Deployment{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{},
		} {
			w.Expect(w.gone(w.shardKey(number), obj)).To(BeTrue(), "%T of server %d", obj, number)
		}
		w.Expect(w.gone(w.podOf(number), &corev1.Pod{})).To(BeTrue())
	}
	w.Expect(w.gone(client.ObjectKey{Namespace: w.r.Namespace, Name: "nfsd-" + w.name}, &policyv1.PodDisruptionBudget{})).To(BeTrue())
}

// grown is what the disk's driver does.
func (w *suffering) grown(number int32) {
	w.t.Helper()
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimOf(number), claim)
	claim.Status.Capacity[corev1.ResourceStorage] = resource.MustParse("20Gi")
	w.Expect(w.c.Status().Update(w.t.Context(), claim)).To(Succeed())
}

func TestLifeOfABackendWhoseCallsFail(t *testing.T) {
	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			w := newSuffering(t, f)
			class := &storagev1.StorageClass{
				ObjectMeta: metav1.ObjectMeta{Name: "local-block"}, Provisioner: "disks.example.org", AllowVolumeExpansion: new(true),
			}
			w.Expect(w.c.Create(t.Context(), class)).To(Succeed())
			t.Cleanup(func() { w.Expect(w.c.Delete(context.Background(), class)).To(Succeed()) })
			w.create(func(b *v1alpha1.NFSBackend) { b.Spec.DeletionPolicy = v1alpha1.DeletionDelete })
			w.suffer()
			w.bindShard(0, "disk-0-"+w.name)
			w.startShard(0)
			w.agents.status = serving(1)
			w.suffer()
			w.expectServing("1/1")
			w.keep()

			w.grow()
			w.suffer()
			w.Eventually(func() string { // caches of the API server itself
				w.rest()
				claim := &corev1.PersistentVolumeClaim{}
				w.get(w.claimKey(), claim)
				return claim.Spec.Resources.Requests.Storage().String()
			}, "20s", "100ms").Should(Equal("20Gi"))
			w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonGrowingDisk))
			w.grown(0)
			w.suffer()
			w.expectServing("1/1")

			w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.Shards = 2 })
			w.suffer()
			w.bindShard(1, "disk-1-"+w.name)
			w.grown(1)
			w.startShard(1)
			w.suffer()
			w.expectServing("2/2")
			w.keep()

			w.change(func(b *v1alpha1.NFSBackend) { b.Spec.Server.LeaseSeconds = 20 })
			w.suffer()
			for number := range int32(2) {
				w.observed(number)
			}
			for number := range int32(2) {
				w.suffer()
				w.Expect(w.gone(w.podOf(number), &corev1.Pod{})).To(BeTrue())
				if number == 0 {
					w.get(w.podOf(1), &corev1.Pod{})
				}
				w.startShard(number)
			}
			w.suffer()
			w.expectServing("2/2")

			w.deleteSuffering()
			w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
			w.agents.status, w.keeps = serving(0), nil
			w.suffer()
			w.expectNothingLeft(2)
			for number := range int32(2) {
				claim, disk := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}
				if !w.gone(w.claimOf(number), claim) { // Kubernetes' own finalizer, which nobody removes here
					w.Expect(claim.DeletionTimestamp).NotTo(BeNil())
					w.Expect(claim.Finalizers).NotTo(ContainElement(names.Finalizer))
				}
				w.get(client.ObjectKey{Name: fmt.Sprintf("disk-%d-%s", number, w.name)}, disk)
				w.Expect(disk.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimDelete))
				w.Expect(disk.Labels).To(BeEmpty())
			}
		})
	}
}

func TestLifeOfAnExternalBackendWhoseCallsFail(t *testing.T) {
	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			w := newSuffering(t, f)
			w.create(external)
			w.suffer()
			former := w.startAgent("1")
			w.agents.status = mounted(1)
			w.suffer()
			w.expectServing("1/1")
			w.keep()

			w.change(func(b *v1alpha1.NFSBackend) { b.Spec.External.Server = "192.0.2.7" })
			w.suffer()
			w.Expect(w.agentConfig().Server).To(Equal("192.0.2.7"))
			w.stopPod(former)
			w.startAgent("2")
			w.suffer()
			w.expectServing("1/1")

			w.deleteSuffering()
			w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDeletionBlocked))
			w.agents.status, w.keeps = mounted(0), nil
			w.suffer()
			w.expectNothingLeft(1)
		})
	}
}

// The disk of a former backend of the name is adopted, too: a device of a node, and a claim's.
func TestLifeOfABackendWithItsFormersDiskWhoseCallsFail(t *testing.T) {
	for name, device := range map[string]bool{"device": true, "claim": false} {
		t.Run(name, func(t *testing.T) {
			for _, f := range testenv.Faults() {
				t.Run(string(f.Kind), func(t *testing.T) {
					w := newSuffering(t, f)
					node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "metal-" + w.name}}
					w.Expect(w.c.Create(t.Context(), node)).To(Succeed())
					t.Cleanup(func() { w.Expect(w.c.Delete(context.Background(), node)).To(Succeed()) })
					storage := func(b *v1alpha1.NFSBackend) {
						if device {
							b.Spec.Server.Storage = v1alpha1.ServerStorage{Hosts: []v1alpha1.HostDevice{{Node: node.Name, Device: "/dev/sdb"}}}
						}
					}
					w.create(storage)
					w.suffer()
					disk, claim := &corev1.PersistentVolume{}, &corev1.PersistentVolumeClaim{}
					key := client.ObjectKey{Name: "disk-" + w.name}
					if device {
						key.Name = w.shard().Name
						w.get(key, disk)
						w.get(w.claimKey(), claim)
						w.bindTo(claim, disk)
					} else {
						w.bind()
					}
					w.startPod()
					w.agents.status = serving(0)
					w.suffer()
					w.expectServing("1/1")
					w.deleteSuffering()
					w.expectNothingLeft(1)

					disk = w.loseClaim(key)
					w.agents.status = nil
					w.create(storage)
					w.suffer()
					w.get(w.claimKey(), claim)
					w.get(key, disk)
					w.Expect(claim.Spec.VolumeName).To(Equal(disk.Name))
					w.Expect(disk.Spec.ClaimRef.UID).To(BeEmpty())
					w.bindTo(claim, disk)
					w.startPod()
					w.agents.status = serving(2)
					w.suffer()
					w.expectServing("1/1")
					w.Expect(disk.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
				})
			}
		})
	}
}
