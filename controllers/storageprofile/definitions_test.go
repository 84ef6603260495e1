//go:build envtest

package storageprofile

import (
	"testing"

	. "github.com/onsi/gomega"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

// TestOurDefinitionsGone: somebody deletes our CRDs, and with them all profiles. Their policies may outlive them for a while;
// claims of other classes must not notice, nor those that exist.
func TestOurDefinitionsGone(t *testing.T) {
	w := newWorld(t, "orphan")
	w.namespace("bystander", nil)
	w.backend(true)
	w.create(func(p *v1alpha1.StorageProfile) { p.Spec.AllowedNamespaces = gold() })
	w.settle()
	w.inForce(claim("bystander", "probe", "orphan", "1Gi", rwx))

	t.Cleanup(func() {
		_, err := envtest.InstallCRDs(testenv.Config(), envtest.CRDInstallOptions{Paths: []string{testenv.Path("config", "crd", "bases")}})
		w.Expect(err).NotTo(HaveOccurred())
	})
	for plural, list := range map[string]client.ObjectList{
		"storageprofiles": &v1alpha1.StorageProfileList{}, "nfsbackends": &v1alpha1.NFSBackendList{}, "nfsdrivers": &v1alpha1.NFSDriverList{},
	} {
		crd := testenv.ReadObjects(t, "config", "crd", "bases", "storage.nfs-operator.io_"+plural+".yaml")[0]
		w.Expect(w.c.Delete(t.Context(), crd)).To(Succeed())
		testenv.Await(t, func() bool {
			err := w.c.List(t.Context(), list)
			return apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err)
		})
		expectClaims(t, w)
	}
}

// expectClaims: those of others are made and deleted, and what was forbidden stays so.
func expectClaims(t *testing.T, w *world) {
	t.Helper()
	for _, class := range []string{"other", ""} {
		unrelated := claim("bystander", "unrelated", class, "1Gi", rwx)
		w.Expect(w.c.Create(t.Context(), unrelated)).To(Succeed())
		w.Expect(w.c.Delete(t.Context(), unrelated)).To(Succeed())
		testenv.Await(t, func() bool {
			unrelated.Finalizers = nil // Kubernetes' own, which nobody removes here
			_ = w.c.Update(t.Context(), unrelated)
			return apierrors.IsNotFound(w.c.Get(t.Context(), client.ObjectKeyFromObject(unrelated), unrelated))
		})
	}
	err := w.c.Create(t.Context(), claim("bystander", "refused", "orphan", "1Gi", rwx))
	w.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "what was forbidden stays so: %v", err)
}
