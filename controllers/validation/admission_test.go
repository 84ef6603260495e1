//go:build envtest

package validation

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// installPolicies applies config/admission.
func installPolicies(t *testing.T, c client.Client) {
	t.Helper()
	for _, obj := range testenv.ReadObjects(t, "config", "admission", "delete_guard.yaml") {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Delete(context.Background(), obj) })
	}
}

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

// deleteRefused tries until the policy is in force; a new one takes a moment.
func deleteRefused(t *testing.T, c client.Client, obj client.Object) error {
	t.Helper()
	for range 100 {
		if err := c.Delete(t.Context(), obj, client.DryRunAll); err != nil {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return nil
}

func TestDeletionOfWhatIsInUseIsRefused(t *testing.T) {
	c := testenv.Client(t)
	installPolicies(t, c)

	used := inUse(t, c, "used", metav1.ConditionTrue)
	err := deleteRefused(t, c, used)
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
	installPolicies(t, c)
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
	expect(t, deleteRefused(t, c, service("nfsd-0-used", true)), "belongs to an NFS server that holds volumes")
	expect(t, deleteRefused(t, c, claim), "belongs to an NFS server that holds volumes")
	expect(t, c.Delete(t.Context(), service("nfsd-0-unused", false)), "")
}
