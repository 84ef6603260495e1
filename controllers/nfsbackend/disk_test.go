//go:build envtest

package nfsbackend

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// grow asks for 20Gi.
func (w *world) grow() {
	w.t.Helper()
	w.change(func(b *v1alpha1.NFSBackend) {
		b.Spec.Server.Storage.VolumeClaimTemplate.Size = resource.MustParse("20Gi")
	})
}

func TestGrowingSizeGrowsTheDiskOnline(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	class := &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "local-block"}, Provisioner: "disks.example.org", AllowVolumeExpansion: new(true),
	}
	w.Expect(w.c.Create(t.Context(), class)).To(Succeed())
	defer func() { w.Expect(w.c.Delete(t.Context(), class)).To(Succeed()) }()
	w.grow()
	w.settleUntil(func() bool {
		claim := &corev1.PersistentVolumeClaim{}
		w.get(w.claimKey(), claim)
		return claim.Spec.Resources.Requests.Storage().String() == "20Gi"
	})
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal(reasonGrowingDisk))
	w.Expect(ready.Message).To(ContainSubstring("from 10Gi to 20Gi"))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	w.Expect(w.backend().Status.Shards[0].Serving).To(BeTrue())
	w.get(w.podKey(), &corev1.Pod{}) // online

	// The disk's driver and the agent have done their part.
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	claim.Status.Capacity[corev1.ResourceStorage] = resource.MustParse("20Gi")
	w.Expect(w.c.Status().Update(t.Context(), claim)).To(Succeed())
	larger := serving(1)
	larger.Capacity.TotalBytes *= 2
	w.agents.status = larger
	w.settle()
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
	w.Expect(w.backend().Status.Capacity.String()).To(Equal("20Gi"))
}

// settleUntil bears with caches of the API server itself: its admission plugins see a new StorageClass a moment later.
func (w *world) settleUntil(holds func() bool) {
	w.t.Helper()
	w.Eventually(func() bool {
		w.settle()
		return holds()
	}, "20s", "100ms").Should(BeTrue())
}

func TestDiskThatCannotGrowSaysWhyAndStopsNothingElse(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.change(func(b *v1alpha1.NFSBackend) {
		b.Spec.Server.Storage.VolumeClaimTemplate.Size = resource.MustParse("20Gi")
		b.Spec.Server.LeaseSeconds = 20
	})
	w.Expect(w.c.Delete(t.Context(), &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Name: w.shard().Name, Namespace: w.shard().Namespace}})).To(Succeed())
	for range 3 {
		w.pass()
	}
	stalled := w.condition(v1alpha1.ConditionStalled)
	w.Expect(stalled.Reason).To(Equal(reasonDiskCannotGrow))
	w.Expect(stalled.Message).To(And(ContainSubstring("from 10Gi to 20Gi"), ContainSubstring("storageclass")))
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
	w.get(w.shard(), &appsv1.StatefulSet{})
	config := &corev1.ConfigMap{}
	w.get(w.shard(), config)
	w.Expect(config.Data[names.KeyAgentConfig]).To(ContainSubstring("leaseSeconds: 20"))
}

// loseClaim deletes the claim of a disk, past our finalizer, and lets the disk be Released, as Kubernetes does.
func (w *world) loseClaim(key client.ObjectKey) *corev1.PersistentVolume {
	w.t.Helper()
	claim, disk := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}
	w.get(w.claimKey(), claim)
	claim.Finalizers = nil
	w.Expect(w.c.Update(w.t.Context(), claim)).To(Succeed())
	w.Expect(client.IgnoreNotFound(w.c.Delete(w.t.Context(), claim))).To(Succeed())
	w.Expect(w.gone(w.claimKey(), claim)).To(BeTrue())
	w.get(key, disk)
	disk.Status.Phase = corev1.VolumeReleased
	w.Expect(w.c.Status().Update(w.t.Context(), disk)).To(Succeed())
	return disk
}

// The namespace is gone and with it the claim; the PersistentVolume was kept.
func TestBackendMadeAnewAdoptsADiskWithoutAClaim(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	claim, key := &corev1.PersistentVolumeClaim{}, client.ObjectKey{Name: "disk-" + w.name}
	disk := w.loseClaim(key)

	w.agents.status = nil
	w.create(nil)
	w.settle()
	w.get(w.claimKey(), claim)
	w.Expect(claim.Spec.VolumeName).To(Equal(disk.Name))
	w.get(key, disk)
	w.Expect(disk.Spec.ClaimRef.Name).To(Equal(claim.Name))
	w.Expect(disk.Spec.ClaimRef.UID).To(BeEmpty(), "so that it can be bound again")
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(BeEquivalentTo("True"), "it may hold volumes")

	w.bindTo(claim, disk)
	w.startPod()
	w.agents.status = serving(2)
	w.settle()
	w.get(key, disk)
	w.Expect(disk.Annotations).To(HaveKeyWithValue(meta.AnnotationServerID, "server-1"))
	w.Expect(disk.Annotations).To(HaveKeyWithValue(meta.AnnotationReclaimPolicy, "Delete"), "the policy that it once came with")
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

// The deletion of a claim is seen before its PersistentVolume is Released.
func TestClaimThatIsGoneWaitsForItsDisk(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.agents.status = nil
	claim, disk := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}
	w.get(w.claimKey(), claim)
	delete(claim.Labels, meta.LabelInUse)
	claim.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), claim)).To(Succeed())
	w.Expect(client.IgnoreNotFound(w.c.Delete(t.Context(), claim))).To(Succeed())
	w.settle()
	w.Expect(w.gone(w.claimKey(), claim)).To(BeTrue(), "it would get another disk")
	ready := w.condition(v1alpha1.ConditionReady)
	w.Expect(ready.Reason).To(Equal(reasonDiskNotFree))
	w.Expect(ready.Message).To(ContainSubstring("disk-" + w.name))
	w.Expect(kstatus(w)).To(Equal(status.InProgressStatus))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(BeEquivalentTo("True"))

	w.get(client.ObjectKey{Name: "disk-" + w.name}, disk)
	disk.Status.Phase = corev1.VolumeReleased
	w.Expect(w.c.Status().Update(t.Context(), disk)).To(Succeed())
	w.settle()
	w.get(w.claimKey(), claim)
	w.Expect(claim.Spec.VolumeName).To(Equal(disk.Name))
}

// restoredService is a Service that somebody made anew: it has another address.
func (w *world) restoredService() *corev1.Service {
	w.t.Helper()
	service := &corev1.Service{}
	w.get(w.shard(), service)
	w.Expect(w.c.Delete(w.t.Context(), service)).To(Succeed())
	service.ResourceVersion, service.UID, service.Spec.ClusterIP, service.Spec.ClusterIPs = "", "", "", nil
	w.Expect(w.c.Create(w.t.Context(), service)).To(Succeed())
	return service
}

// Were the address told instead, a claim would be made.
func TestNoClaimIsMadeForABoundDiskWhoseAddressIsLostToo(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.agents.status = nil
	claim, service := &corev1.PersistentVolumeClaim{}, w.restoredService()
	w.get(w.claimKey(), claim)
	claim.Finalizers = nil
	w.Expect(w.c.Update(t.Context(), claim)).To(Succeed())
	w.Expect(client.IgnoreNotFound(w.c.Delete(t.Context(), claim))).To(Succeed())
	w.settle()
	w.Expect(w.gone(w.claimKey(), claim)).To(BeTrue())
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonDiskNotFree))
	w.Expect(w.backend().Status.Shards[0].Address).NotTo(Equal(service.Spec.ClusterIP))
}

func TestDiskThatCannotGrowDoesNotHideALostAddress(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.restoredService()
	w.grow()
	for range 3 {
		w.pass()
	}
	w.Expect(w.condition(v1alpha1.ConditionStalled).Reason).To(Equal(reasonAddressLost))
}

func TestSeveralDisksOfOneServerAreNotChosenFrom(t *testing.T) {
	w := newWorld(t)
	for _, suffix := range []string{"-a", "-b"} {
		disk := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "disk-" + w.name + suffix, Labels: meta.Shard(w.name, 0)},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
				AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
				VolumeMode:             new(corev1.PersistentVolumeBlock),
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disks.example.org", VolumeHandle: suffix}},
			},
		}
		w.Expect(w.c.Create(t.Context(), disk)).To(Succeed())
	}
	w.create(nil)
	w.settle()
	stalled := w.condition(v1alpha1.ConditionStalled)
	w.Expect(stalled.Reason).To(Equal(reasonSeveralDisks))
	w.Expect(stalled.Message).To(And(ContainSubstring("disk-"+w.name+"-a"), ContainSubstring("disk-"+w.name+"-b")))
	w.Expect(w.gone(w.claimKey(), &corev1.PersistentVolumeClaim{})).To(BeTrue())
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
}

func TestHostDevices(t *testing.T) {
	w := newWorld(t)
	w.create(func(b *v1alpha1.NFSBackend) {
		b.Spec.Server.Storage = v1alpha1.ServerStorage{Hosts: []v1alpha1.HostDevice{{Node: "metal-1", Device: "/dev/disk/by-id/nvme-eui.1"}}}
	})
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal("NodeMissing"))
	w.Expect(w.gone(w.claimKey(), &corev1.PersistentVolumeClaim{})).To(BeTrue())
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "metal-1", Labels: map[string]string{corev1.LabelHostname: "metal-1.example.org"}}}
	w.Expect(w.c.Create(t.Context(), node)).To(Succeed())
	w.settle()

	disk, claim := &corev1.PersistentVolume{}, &corev1.PersistentVolumeClaim{}
	w.get(client.ObjectKey{Name: w.shard().Name}, disk)
	w.get(w.claimKey(), claim)
	w.Expect(disk.Spec.Local.Path).To(Equal("/dev/disk/by-id/nvme-eui.1"))
	w.Expect(*disk.Spec.VolumeMode).To(Equal(corev1.PersistentVolumeBlock))
	w.Expect(disk.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
	w.Expect(disk.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values).To(Equal([]string{"metal-1.example.org"}))
	w.Expect(claim.Spec.VolumeName).To(Equal(disk.Name))
	w.Expect(*claim.Spec.StorageClassName).To(BeEmpty())

	w.Expect(w.c.Delete(t.Context(), node)).To(Succeed()) // a lost node changes nothing
	w.bindTo(claim, disk)
	w.startPod()
	w.agents.status = serving(0)
	w.settle()
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
	w.Expect(w.backend().Status.Capacity.String()).To(Equal("10Gi"), "as the agent says")

	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	w.get(client.ObjectKey{Name: w.shard().Name}, disk)
	w.get(w.claimKey(), claim)
}

func TestForeignVolumeOfOurNameIsNotTaken(t *testing.T) {
	w := newWorld(t)
	disk := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: w.shard().Name},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:               corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
			AccessModes:            []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeSource: corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nas", Path: "/"}},
		},
	}
	w.Expect(w.c.Create(t.Context(), disk)).To(Succeed())
	w.create(func(b *v1alpha1.NFSBackend) {
		b.Spec.Server.Storage = v1alpha1.ServerStorage{Hosts: []v1alpha1.HostDevice{{Node: "metal-2", Device: "/dev/sdb"}}}
	})
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionStalled).Reason).To(Equal(reasonDiskTaken))
	w.get(client.ObjectKeyFromObject(disk), disk)
	w.Expect(disk.Labels).To(BeEmpty())
}
