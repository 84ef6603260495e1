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
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// expectIdentity: what the status, the claim, its PersistentVolume and the agent's configuration say; empty is that they say none.
func (w *world) expectIdentity(server, disk string) {
	w.t.Helper()
	w.Expect(w.backend().Status.Shards[0].ServerID).To(Equal(server), "status")
	claim, volume, configMap := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}, &corev1.ConfigMap{}
	w.get(w.claimKey(), claim)
	w.get(client.ObjectKey{Name: claim.Spec.VolumeName}, volume)
	w.get(w.shard(), configMap)
	w.Expect(claim.Annotations[meta.AnnotationServerID]).To(Equal(server), "claim")
	w.Expect(volume.Annotations[meta.AnnotationServerID]).To(Equal(disk), "PersistentVolume")
	var c config.Config
	w.Expect(yaml.UnmarshalStrict([]byte(configMap.Data[names.KeyAgentConfig]), &c)).To(Succeed())
	w.Expect(c.ServerID).To(Equal(server), "configuration")
}

func (w *world) onDisk(server string, volumes int32) {
	w.agents.status = serving(volumes)
	w.agents.status.ServerId = server
}

// Two disks were swapped, or one was lost and another is there: the volumes are not on it.
func TestAnotherDiskDoesNotTakeThePlaceOfTheKnownOne(t *testing.T) {
	for word, change := range map[string]func(*v1alpha1.NFSBackend){agentv1.ReasonDiskChanged: nil, agentv1.ReasonFilesystemChanged: onFilesystem} {
		t.Run(word, func(t *testing.T) {
			w := newWorld(t)
			w.create(change)
			w.ready(1)
			w.expectIdentity("server-1", "server-1")
			w.events()
			w.onDisk("server-2", 0)
			w.settle()
			stalled := w.condition(v1alpha1.ConditionStalled)
			w.Expect(stalled.Reason).To(Equal(word))
			w.Expect(stalled.Message).To(And(ContainSubstring("server-1"), ContainSubstring("server-2")))
			w.Expect(kstatus(w)).To(Equal(status.FailedStatus))
			w.expectOneEvent(corev1.EventTypeWarning, word)
			w.Expect(w.backend().Status.Shards[0].Serving).To(BeFalse(), "a volume would be made there")
			w.Expect(*w.backend().Status.Volumes).To(BeEquivalentTo(1))
			w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue))
			w.expectIdentity("server-1", "server-1")
			w.get(w.podKey(), &corev1.Pod{}) // whose notes are wrong is not known, and mounts may go on

			w.onDisk("server-1", 1)
			w.settle()
			w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
		})
	}
}

// A backup of the operator's namespace brings back a claim with its note, and a provisioner gives it a new disk.
func TestRestoredClaimWithANewDisk(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.settle()
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	claim.Annotations = map[string]string{meta.AnnotationServerID: "server-1"}
	w.Expect(w.c.Update(t.Context(), claim)).To(Succeed())
	w.bind()
	w.settle()
	w.expectIdentity("server-1", "")
	w.startPod()
	w.agents.status = &agentv1.ServerStatus{Reason: "DiskChanged", Message: "the disk is blank"}
	w.settle()
	w.Expect(w.condition(v1alpha1.ConditionStalled).Message).To(ContainSubstring("the disk is blank"))
	w.Expect(w.condition(v1alpha1.ConditionInUse).Status).To(Equal(metav1.ConditionTrue))
	w.expectIdentity("server-1", "")
	w.get(w.podKey(), &corev1.Pod{})
}

// docs/backends.md, "A disk that is lost for good".
func TestServerIsGivenUp(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	claim := &corev1.PersistentVolumeClaim{}
	w.get(w.claimKey(), claim)
	for _, note := range []string{"", "server-1"} { // it is another manager's now, too: what does not change is not
		claim.Annotations[meta.AnnotationServerID] = note
		w.Expect(w.c.Update(t.Context(), claim, client.FieldOwner("backup"))).To(Succeed())
	}
	refuses := &agentv1.ServerStatus{Reason: "DiskChanged", Message: "the disk is blank"}

	w.annotate(meta.AnnotationGiveUpServer, "server-1")
	w.settle()
	w.expectIdentity("server-1", "server-1") // it serves
	for _, away := range []*agentv1.ServerStatus{nil, {Reason: "DeviceUnavailable"}, {Reason: "DiskFailed"}} {
		w.agents.status = away
		w.settle()
		w.expectIdentity("server-1", "server-1") // it may come back
	}
	w.annotate(meta.AnnotationGiveUpServer, "server-0")
	w.agents.status = refuses
	w.settle()
	w.expectIdentity("server-1", "server-1") // that of another
	w.get(w.podKey(), &corev1.Pod{})

	w.annotate(meta.AnnotationGiveUpServer, "server-1")
	w.settle()
	w.expectIdentity("", "")
	w.Expect(w.gone(w.podKey(), &corev1.Pod{})).To(BeTrue(), "the agent reads its configuration at its start only")
	w.startPod()
	w.onDisk("server-2", 0)
	w.settle()
	w.expectIdentity("server-2", "server-2")
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
	w.Expect(*w.backend().Status.Volumes).To(BeZero())

	w.agents.status = refuses // the annotation was left there, and names the former
	w.settle()
	w.expectIdentity("server-2", "server-2")
	w.get(w.podKey(), &corev1.Pod{})
}

// The pass that gives a server up can be cut off before its status is written.
func TestGivingUpThatWasCutOffGoesOn(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	w.annotate(meta.AnnotationGiveUpServer, "server-1")
	w.onDisk("server-2", 0) // as an agent says that has begun anew, while the status names the former
	w.settle()
	w.expectIdentity("server-2", "server-2")
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}
