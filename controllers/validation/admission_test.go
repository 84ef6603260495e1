//go:build envtest

package validation

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
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

// guarded are objects that the policies keep, each labelled or with a status as the operator would.
func guarded(t *testing.T, c client.Client) map[string]client.Object {
	t.Helper()
	labelled := func(name, namespace string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{
			names.LabelManagedBy: names.FieldOwner, meta.LabelInUse: "true",
		}}
	}
	objects := map[string]client.Object{
		"Service": &corev1.Service{
			ObjectMeta: labelled("nfsd-0-guarded", testenv.Namespace), Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 2049}}},
		},
		"PersistentVolumeClaim":    dataClaim(labelled("data-nfsd-0-guarded", testenv.Namespace)),
		"Namespace":                &corev1.Namespace{ObjectMeta: labelled("guarded", "")},
		"CustomResourceDefinition": definition("guardeds"),
	}
	for kind, obj := range objects {
		obj.SetFinalizers([]string{"example.org/held"})
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
	}
	backend := inUse(t, c, "guarded", metav1.ConditionTrue)
	backend.Finalizers = []string{names.Finalizer}
	if err := c.Update(t.Context(), backend); err != nil {
		t.Fatal(err)
	}
	objects["NFSBackend"] = backend
	return objects
}

func dataClaim(object metav1.ObjectMeta) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: object, Spec: corev1.PersistentVolumeClaimSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
		Resources:   corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}},
	}}
}

// definition is of a kind of nobody's, labelled as ours are.
func definition(plural string) *unstructured.Unstructured {
	crd := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"spec": map[string]any{
			"group": "example.org", "scope": "Cluster",
			"names": map[string]any{"kind": "Guarded", "plural": plural},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}},
			}},
		},
	}}
	crd.SetName(plural + ".example.org")
	crd.SetLabels(map[string]string{meta.LabelInUse: "true"})
	return crd
}

// annotated sets the annotation by which a person lets a deletion pass; an empty value takes it off.
func annotated(t *testing.T, c client.Client, obj client.Object, value string) {
	t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%q}}}`, names.AnnotationAllowDeletion, value)
	if value == "" {
		patch = fmt.Sprintf(`{"metadata":{"annotations":{%q:null}}}`, names.AnnotationAllowDeletion)
	}
	if err := c.Patch(t.Context(), obj, client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
		t.Fatal(err)
	}
}

// TestDeletionOfWhatIsInUse: refused, with the way out named; let pass with that annotation, and with no other; and where the
// object is being deleted already, a further DELETE (of the garbage collector, or of kubectl again) is nobody's business.
func TestDeletionOfWhatIsInUse(t *testing.T) {
	c := testenv.Client(t)
	testenv.InstallPolicies(t)
	says := map[string]string{
		"Service": "belongs to an NFS server that holds volumes", "PersistentVolumeClaim": "belongs to an NFS server that holds volumes",
		"Namespace": "NFS servers of nfs-operator hold volumes", "CustomResourceDefinition": "NFS servers of nfs-operator hold volumes",
		"NFSBackend": "nfsd-0 holds 3 volumes",
	}
	for kind, obj := range guarded(t, c) {
		t.Run(kind, func(t *testing.T) {
			wayOut := names.AnnotationAllowDeletion + ": " + obj.GetName()
			expect(t, c.Delete(t.Context(), obj), says[kind])
			expect(t, c.Delete(t.Context(), obj), wayOut)
			for _, wrong := range []string{"another", "true"} {
				annotated(t, c, obj, wrong)
				expect(t, c.Delete(t.Context(), obj), wayOut)
			}
			annotated(t, c, obj, obj.GetName())
			expect(t, c.Delete(t.Context(), obj), "")
			annotated(t, c, obj, "")
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil || obj.GetDeletionTimestamp().IsZero() {
				t.Fatalf("it is not being deleted: %v", err)
			}
			expect(t, c.Delete(t.Context(), obj), "")
			free := client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`))
			if err := c.Patch(t.Context(), obj, free); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
}

// TestDeletionOfWhatIsNotInUse: the policies keep nobody else's objects, and none of an empty backend.
func TestDeletionOfWhatIsNotInUse(t *testing.T) {
	c := testenv.Client(t)
	testenv.InstallPolicies(t)
	objects := map[string]client.Object{"an unused backend": inUse(t, c, "unused", metav1.ConditionFalse)}
	for name, labels := range map[string]map[string]string{
		"ours, of an empty server":  {names.LabelManagedBy: names.FieldOwner},
		"with another's label":      {names.LabelManagedBy: "helm", meta.LabelInUse: "true"},
		"of nobody's":               nil,
		"labelled with other words": {names.LabelManagedBy: names.FieldOwner, meta.LabelInUse: "false"},
	} {
		claim := dataClaim(metav1.ObjectMeta{GenerateName: "unused-", Namespace: testenv.Namespace, Labels: labels})
		if err := c.Create(t.Context(), claim); err != nil {
			t.Fatal(err)
		}
		objects["a claim "+name] = claim
	}
	for name, obj := range objects {
		t.Run(name, func(t *testing.T) { expect(t, c.Delete(t.Context(), obj), "") })
	}
}
