//go:build envtest

package storageprofile

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// labelledBackend makes a backend with one server.
func (w *world) labelledBackend(name, tier string, serving bool, available string) *v1alpha1.NFSBackend {
	w.t.Helper()
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"tier": tier}},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{Size: resource.MustParse("10Gi")},
		}}},
	}
	w.Expect(w.c.Create(w.t.Context(), backend)).To(Succeed())
	backend.Status.Conditions = []metav1.Condition{{
		Type: "Ready", Status: metav1.ConditionUnknown, Reason: "Test", Message: "its server starts", LastTransitionTime: metav1.Now(),
	}}
	backend.Status.Shards = []v1alpha1.ShardStatus{{Serving: serving, Available: new(resource.MustParse(available))}}
	w.Expect(w.c.Status().Update(w.t.Context(), backend)).To(Succeed())
	return backend
}

func TestSelectionOverBackends(t *testing.T) {
	w := newWorld(t, "selected")
	selector := &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"tier": "selected"}}
	w.create(func(p *v1alpha1.StorageProfile) {
		p.Spec.BackendRef, p.Spec.BackendSelector = v1alpha1.BackendReference{}, selector
	})
	w.settle()
	w.Expect(w.ready().Message).To(Equal("no NFSBackend has the labels tier=selected"))
	w.Expect(w.kstatus()).To(Equal(status.InProgressStatus))

	first := w.labelledBackend("selected-1", "selected", false, "3Gi")
	w.labelledBackend("unselected", "other", true, "100Gi")
	w.settle()
	w.Expect(w.ready().Reason).To(Equal("BackendNotReady"))
	w.Expect(w.ready().Message).To(ContainSubstring("selected-1 is not ready: its server starts"))
	w.Expect(w.profile().Status.Backends).To(Equal("0/1"))
	w.Expect(w.profile().Status.LargestVolume).To(BeNil())

	second := w.labelledBackend("selected-2", "selected", true, "2Gi")
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus), "one that can take a volume is enough")
	w.Expect(w.ready().Message).To(ContainSubstring("1 of 2 NFSBackends"))

	first.Status.Shards[0].Serving = true
	w.Expect(w.c.Status().Update(t.Context(), first)).To(Succeed())
	w.settle()
	w.Expect(w.profile().Status.Backends).To(Equal("2/2"))
	w.Expect(w.profile().Status.Available.String()).To(Equal("5Gi"))
	w.Expect(w.profile().Status.LargestVolume.String()).To(Equal("3Gi"))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.MinVolumeSize = new(resource.MustParse("4Gi")) })
	w.Expect(w.ready().Reason).To(Equal("NoSpace"))
	w.Expect(w.ready().Message).To(Equal("no server of 2 serving NFSBackends has room for another volume of 4Gi: delete volumes or snapshots, let a backend grow, or add one"))
	w.Expect(w.kstatus()).To(Equal(status.FailedStatus))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.MinVolumeSize = nil })
	second.Labels["tier"] = "other"
	w.Expect(w.c.Update(t.Context(), second)).To(Succeed())
	w.settle()
	w.Expect(w.profile().Status.Backends).To(Equal("1/1"))
	w.settle()
	w.Expect(w.counter.Writes()).To(BeZero())
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}
