//go:build envtest

package deleteguard

import (
	"context"
	"testing"

	. "github.com/onsi/gomega"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func definition() *unstructured.Unstructured {
	crd := &unstructured.Unstructured{}
	crd.SetName("nfsbackends.storage.nfs-operator.io")
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return crd
}

func TestNamespaceAndDefinitionsAreGuardedWhileABackendIsInUse(t *testing.T) {
	g := NewWithT(t)
	testenv.ClaimDriver(t, testenv.Namespace)
	testenv.InstallPolicies(t)
	c, counter := testenv.CountingClient(t)
	r := &Reconciler{Client: c, Uncached: c, Claim: install.Claim{Client: c, Namespace: testenv.Namespace}, Namespace: testenv.Namespace}
	settle := func() {
		_, err := testenv.Settle(t, r, counter, "all")
		g.Expect(err).NotTo(HaveOccurred())
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testenv.Namespace}}
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: "guarded"},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{Size: resource.MustParse("10Gi")},
		}}},
	}
	g.Expect(c.Create(t.Context(), backend)).To(Succeed())
	t.Cleanup(func() { _ = c.Delete(context.Background(), backend) })
	use := func(status metav1.ConditionStatus) {
		backend.Status.Conditions = []metav1.Condition{{
			Type: v1alpha1.ConditionInUse, Status: status, Reason: "Test", LastTransitionTime: metav1.Now(),
		}}
		g.Expect(c.Status().Update(t.Context(), backend)).To(Succeed())
		settle()
	}
	settle()
	g.Expect(c.Delete(t.Context(), definition(), client.DryRunAll)).To(Succeed(), "an unused installation may go")

	use(metav1.ConditionTrue)
	for _, obj := range []client.Object{namespace, definition()} {
		err := c.Delete(t.Context(), obj, client.DryRunAll)
		g.Expect(err).To(MatchError(And(ContainSubstring("in use"), ContainSubstring(names.AnnotationAllowDeletion+": "+obj.GetName()))))
	}
	crd := definition()
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd)).To(Succeed())
	former := crd.DeepCopy()
	crd.SetAnnotations(map[string]string{names.AnnotationAllowDeletion: crd.GetName()})
	g.Expect(c.Patch(t.Context(), crd, client.MergeFrom(former))).To(Succeed())
	g.Expect(c.Delete(t.Context(), definition(), client.DryRunAll)).To(Succeed(), "the way out")

	use(metav1.ConditionFalse)
	g.Expect(c.Delete(t.Context(), namespace, client.DryRunAll)).To(Succeed())
}
