//go:build envtest

package nfsbackend

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func onFilesystem(b *v1alpha1.NFSBackend) {
	b.Spec.Server.Storage.VolumeClaimTemplate.VolumeMode = corev1.PersistentVolumeFilesystem
}

// onExt4 is the answer of an agent on a file system that can do little.
func onExt4() *agentv1.ServerStatus {
	s := serving(1)
	s.Filesystem, s.Capabilities = "ext4", &agentv1.Capabilities{Access: true, Xattrs: true, StableHandles: true}
	return s
}

func (w *world) lacks() (capabilities []string) {
	w.t.Helper()
	for _, l := range w.backend().Status.Limitations {
		capabilities = append(capabilities, l.Capability)
	}
	return capabilities
}

func TestBackendOnAFilesystem(t *testing.T) {
	w := newWorld(t)
	w.create(onFilesystem)
	w.ready(1)
	claim, configMap := &corev1.PersistentVolumeClaim{}, &corev1.ConfigMap{}
	w.get(w.claimKey(), claim)
	w.Expect(*claim.Spec.VolumeMode).To(Equal(corev1.PersistentVolumeFilesystem))
	w.get(w.shard(), configMap)
	var c config.Config
	w.Expect(yaml.UnmarshalStrict([]byte(configMap.Data[names.KeyAgentConfig]), &c)).To(Succeed())
	w.Expect(c.Device).To(BeEmpty())
	w.Expect(c.ServerID).To(Equal("server-1"), "an empty file system is refused from now on")

	w.agents.status = onExt4()
	w.settle()
	w.Expect(w.lacks()).To(Equal([]string{"Quota", "Snapshots", "Durability"}))
	w.Expect(w.backend().Status.Limitations[0].Reason).To(ContainSubstring("the file system is ext4"))
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus), "it serves")
	w.agents.status.Capacity.AvailableBytes -= 100 << 20
	w.settle()
	w.Expect(w.counter.Writes()).To(BeZero(), "without quota each write of a user changes what is free")

	w.agents.status = &agentv1.ServerStatus{Reason: "FilesystemChanged", Message: "the file system is empty"}
	w.settle()
	w.Expect(w.lacks()).To(HaveLen(3), "what was known stays")
	w.Expect(w.condition(v1alpha1.ConditionStalled).Message).To(ContainSubstring("the file system is empty"))
	w.Expect(kstatus(w)).To(Equal(status.FailedStatus))

	w.agents.status = onExt4()
	w.agents.status.Filesystem, w.agents.status.Capabilities = "xfs", &agentv1.Capabilities{Access: true, Xattrs: true, Reflink: true}
	w.settle()
	w.Expect(w.lacks()).To(Equal([]string{"Quota", "Durability", "StableHandles"}))
	w.Expect(w.backend().Status.Limitations[0].Reason).To(ContainSubstring("without prjquota"))

	w.agents.status.Capabilities = &agentv1.Capabilities{Quota: true, Reflink: true, Access: true, Xattrs: true, Durable: true, StableHandles: true}
	w.settle()
	w.Expect(w.lacks()).To(BeEmpty())
}

// A backend made anew under the same name gets its disk back as it is.
func TestAnAdoptedDiskKeepsItsMode(t *testing.T) {
	w := newWorld(t)
	w.create(onFilesystem)
	w.ready(0)
	w.delete()
	w.settle()
	w.Expect(w.backendGone()).To(BeTrue())
	disk := w.loseClaim(client.ObjectKey{Name: "disk-" + w.name})
	claim := &corev1.PersistentVolumeClaim{}

	w.agents.status = nil
	w.create(nil)
	w.settle()
	w.get(w.claimKey(), claim)
	w.Expect(claim.Spec.VolumeName).To(Equal(disk.Name))
	w.Expect(*claim.Spec.VolumeMode).To(Equal(corev1.PersistentVolumeFilesystem))
}

// With several servers it is said which of them cannot do it.
func TestLimitationsNameTheServers(t *testing.T) {
	shard := func(number int32, agent *agentv1.ServerStatus) *shardState {
		b := &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: "shared"}, Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{}}}
		return &shardState{Shard: server.Shard{Backend: b, Number: number}, agent: agent}
	}
	all := serving(0)
	all.Capabilities = &agentv1.Capabilities{Quota: true, Reflink: true, Access: true, Xattrs: true, Durable: true, StableHandles: true}
	unmounted := onExt4()
	unmounted.Filesystem = "xfs"
	partial := map[string]bool{}
	of := func(shards ...*shardState) map[string]string {
		s := &scope{backend: &v1alpha1.NFSBackend{}, shards: shards}
		s.backend.Status.Limitations = []v1alpha1.Limitation{{Capability: "Quota", Reason: "old"}, {Capability: "StableHandles", Reason: "old"}}
		setLimitations(s)
		reasons := map[string]string{}
		for _, l := range s.backend.Status.Limitations {
			reasons[l.Capability] = l.Reason
			partial[l.Capability] = l.Partial
		}
		return reasons
	}
	g := NewWithT(t)
	g.Expect(of(shard(0, onExt4()), shard(1, onExt4()))["Quota"]).To(HavePrefix("sizes are enforced"))
	g.Expect(partial).To(HaveKeyWithValue("Quota", false))
	one := of(shard(0, all), shard(1, onExt4()))
	g.Expect(one["Quota"]).To(HavePrefix("nfsd-1-shared: sizes are enforced"))
	g.Expect(partial).To(HaveKeyWithValue("Quota", true))
	g.Expect(one).NotTo(HaveKey("StableHandles"))
	g.Expect(of(shard(0, unmounted), shard(1, onExt4()))["Durability"]).To(And(
		HavePrefix("nfsd-0-shared: the disk is mounted without wsync"), ContainSubstring("; nfsd-1-shared: the disk is mounted without dirsync")))
	g.Expect(partial).To(HaveKeyWithValue("Durability", false), "all lack it, for reasons of their own")
	silent := of(shard(0, onExt4()), shard(1, nil))
	g.Expect(silent["StableHandles"]).To(Equal("old"))
	g.Expect(silent["Quota"]).To(Equal("old"), "a server that cannot be asked is none that can do it")
	g.Expect(silent["Snapshots"]).To(HavePrefix("nfsd-0-shared: "), "which is new")
}
