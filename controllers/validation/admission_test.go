//go:build envtest

package validation

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func inUse(t *testing.T, c client.Client, name string, value metav1.ConditionStatus) *v1alpha1.NFSBackend {
	t.Helper()
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{Size: resource.MustParse("10Gi")},
		}}},
	}
	if err := c.Create(t.Context(), backend); err != nil {
		t.Fatal(err)
	}
	backend.Status.Conditions = []metav1.Condition{{
		Type: v1alpha1.ConditionInUse, Status: value, Reason: "HoldsData", Message: "nfsd-0 holds 3 volumes", LastTransitionTime: metav1.Now(),
	}}
	if err := c.Status().Update(t.Context(), backend); err != nil {
		t.Fatal(err)
	}
	return backend
}

func TestDeletionOfWhatIsInUseIsRefused(t *testing.T) {
	c := testenv.Client(t)
	testenv.InstallPolicies(t)

	used := inUse(t, c, "used", metav1.ConditionTrue)
	err := c.Delete(t.Context(), used, client.DryRunAll)
	expect(t, err, "nfsd-0 holds 3 volumes")
	expect(t, err, names.AnnotationAllowDeletion+": used")

	used.Annotations = map[string]string{names.AnnotationAllowDeletion: "another"}
	if err := c.Update(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	expect(t, c.Delete(t.Context(), used), "is in use")
	used.Annotations = map[string]string{names.AnnotationAllowDeletion: "used"}
	if err := c.Update(t.Context(), used); err != nil {
		t.Fatal(err)
	}
	expect(t, c.Delete(t.Context(), used), "")

	expect(t, c.Delete(t.Context(), inUse(t, c, "unused", metav1.ConditionFalse)), "")
}

func TestDeletionOfOperandsInUseIsRefused(t *testing.T) {
	c := testenv.Client(t)
	testenv.InstallPolicies(t)
	meta := func(name string, inUse bool) metav1.ObjectMeta {
		labels := map[string]string{names.LabelManagedBy: names.FieldOwner}
		if inUse {
			labels["storage.nfs-operator.io/in-use"] = "true"
		}
		return metav1.ObjectMeta{Name: name, Namespace: testenv.Namespace, Labels: labels}
	}
	service := func(name string, inUse bool) *corev1.Service {
		s := &corev1.Service{ObjectMeta: meta(name, inUse), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 2049}}}}
		if err := c.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		return s
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: meta("data-nfsd-0-used", true),
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
	if err := c.Create(t.Context(), claim); err != nil {
		t.Fatal(err)
	}
	expect(t, c.Delete(t.Context(), service("nfsd-0-used", true)), "belongs to an NFS server that holds volumes")
	expect(t, c.Delete(t.Context(), claim), "belongs to an NFS server that holds volumes")
	expect(t, c.Delete(t.Context(), service("nfsd-0-unused", false)), "")
}
