//go:build envtest

package storageprofile

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

func TestProfilesOfABackendThatDisagreeSaySo(t *testing.T) {
	w := newWorld(t, "agreeing")
	w.backend(true)
	w.create(nil)
	w.settle()
	differ := func() *metav1.Condition {
		return apimeta.FindStatusCondition(w.profile().Status.Conditions, v1alpha1.ConditionMountOptionsDiffer)
	}
	w.Expect(differ()).To(BeNil())

	other := &v1alpha1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: "faster"}, Spec: v1alpha1.StorageProfileSpec{
		BackendRef: v1alpha1.BackendReference{Name: "agreeing"}, MountOptions: []string{"noatime", "nconnect=4"},
	}}
	elsewhere := other.DeepCopy()
	elsewhere.Name, elsewhere.Spec.BackendRef.Name = "elsewhere", "another"
	w.Expect(w.c.Create(t.Context(), other)).To(Succeed())
	w.Expect(w.c.Create(t.Context(), elsewhere)).To(Succeed())
	t.Cleanup(func() { _ = w.c.Delete(t.Context(), elsewhere) })
	w.Expect(w.r.rivalsOf(t.Context(), other)).To(ConsistOf(ctrl.Request{NamespacedName: types.NamespacedName{Name: "agreeing"}}))
	w.Expect(w.r.rivalsOf(t.Context(), elsewhere)).To(BeEmpty())
	w.settle()
	w.Expect(differ()).NotTo(BeNil())
	w.Expect(differ().Status).To(Equal(metav1.ConditionTrue))
	w.Expect(differ().Reason).To(Equal(reasonSharedConnection))
	w.Expect(differ().Message).To(HavePrefix("on NFSBackend agreeing this profile's mountOptions ask for nconnect=1,timeo=100,retrans=1, " +
		"and those of StorageProfile faster for nconnect=4,timeo=100,retrans=1: "))
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus), "volumes work all the same")

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.MountOptions = []string{"nconnect=4", "hard"} })
	w.Expect(differ()).To(BeNil(), "what else the options say is every mount's own")

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.MountOptions = []string{"nconnect=4", "timeo=300"} })
	w.Expect(differ()).NotTo(BeNil())
	w.Expect(w.c.Delete(t.Context(), other)).To(Succeed())
	w.settle()
	w.Expect(differ()).To(BeNil())
}

// What a backend with an external server asks for is part of each mount.
func TestABackendsOwnMountOptionsCount(t *testing.T) {
	profile := func(name string, options ...string) *v1alpha1.StorageProfile {
		return &v1alpha1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.StorageProfileSpec{
			BackendRef: v1alpha1.BackendReference{Name: "nas"}, MountOptions: options,
		}}
	}
	plain, four := profile("plain"), profile("four", "nconnect=4")
	nas := &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: "nas"}, Spec: v1alpha1.NFSBackendSpec{External: &v1alpha1.ExternalServer{}}}
	if _, differ := rivalry([]*v1alpha1.NFSBackend{nas}, plain, four); !differ {
		t.Error("one connection and four are the same")
	}
	nas.Spec.External.MountOptions = []string{"nconnect=4"}
	if _, differ := rivalry([]*v1alpha1.NFSBackend{nas}, plain, four); differ {
		t.Error("both mount with four connections, and differ")
	}
}
