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
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
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
	g.Expect(labelled(t)).To(BeEmpty())

	use(metav1.ConditionTrue)
	for _, obj := range []client.Object{namespace, definition()} {
		err := c.Delete(t.Context(), obj, client.DryRunAll)
		g.Expect(err).To(MatchError(And(ContainSubstring("in use"), ContainSubstring(names.AnnotationAllowDeletion+": "+obj.GetName()))))
	}
	all := []string{
		testenv.Namespace, "nfsbackends.storage.nfs-operator.io", "storageprofiles.storage.nfs-operator.io", "nfsdrivers.storage.nfs-operator.io",
	}
	g.Expect(labelled(t)).To(ConsistOf(all))
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)).To(Succeed())
	delete(namespace.Labels, meta.LabelInUse) // by hand
	namespace.Labels["example.org/mine"] = "stays"
	g.Expect(c.Update(t.Context(), namespace)).To(Succeed())
	g.Expect(labelled(t)).To(HaveLen(3))
	settle()
	g.Expect(labelled(t)).To(ConsistOf(all))
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace)).To(Succeed())
	g.Expect(namespace.Labels).To(HaveKeyWithValue("example.org/mine", "stays"))

	crd := definition()
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(crd), crd)).To(Succeed())
	former := crd.DeepCopy()
	crd.SetAnnotations(map[string]string{names.AnnotationAllowDeletion: crd.GetName()})
	g.Expect(c.Patch(t.Context(), crd, client.MergeFrom(former))).To(Succeed())
	g.Expect(c.Delete(t.Context(), definition(), client.DryRunAll)).To(Succeed(), "the way out")

	use(metav1.ConditionFalse)
	g.Expect(c.Delete(t.Context(), namespace, client.DryRunAll)).To(Succeed())
	g.Expect(labelled(t)).To(BeEmpty())

	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			r.Client = f.Client(c)
			r.Uncached, r.Claim.Client = r.Client, r.Client
			for _, inUse := range []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse} { // in this order, so that each changes something
				want := all
				if inUse == metav1.ConditionFalse {
					want = nil
				}
				backend.Status.Conditions[0].Status = inUse
				g.Expect(testenv.Client(t).Status().Update(t.Context(), backend)).To(Succeed())
				f.Again()
				f.Settle(t, r, counter, "all", func(error) {})
				g.Expect(labelled(t)).To(ConsistOf(want))
			}
		})
	}
}

// labelled are the names of what is kept.
func labelled(t *testing.T) (all []string) {
	t.Helper()
	for _, kind := range []schema.GroupVersionKind{
		{Version: "v1", Kind: "NamespaceList"}, {Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"},
	} {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind)
		if err := testenv.Client(t).List(t.Context(), list, client.MatchingLabels{meta.LabelInUse: "true"}); err != nil {
			t.Fatal(err)
		}
		for _, obj := range list.Items {
			all = append(all, obj.GetName())
		}
	}
	return all
}
