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

// TestOurDefinitionsGone: somebody deletes our CRD, and with it all profiles. Their policies may outlive them for a while;
// claims of other classes must not notice, nor those that exist.
func TestOurDefinitionsGone(t *testing.T) {
	w := newWorld(t, "orphan")
	w.namespace("bystander", nil)
	w.backend(true)
	w.create(func(p *v1alpha1.StorageProfile) { p.Spec.AllowedNamespaces = gold() })
	w.settle()
	w.inForce(claim("bystander", "probe", "orphan", "1Gi", rwx))

	crd := testenv.ReadObjects(t, "config", "crd", "bases", "storage.nfs-operator.io_storageprofiles.yaml")[0]
	w.Expect(w.c.Delete(t.Context(), crd)).To(Succeed())
	testenv.Await(t, func() bool {
		err := w.c.List(t.Context(), &v1alpha1.StorageProfileList{})
		return apierrors.IsNotFound(err) || apimeta.IsNoMatchError(err)
	})
	t.Cleanup(func() {
		_, err := envtest.InstallCRDs(testenv.Config(), envtest.CRDInstallOptions{Paths: []string{testenv.Path("config", "crd", "bases")}})
		w.Expect(err).NotTo(HaveOccurred())
	})
	w.Expect(w.c.Create(t.Context(), claim("bystander", "unrelated", "other", "1Gi", rwx))).To(Succeed())
	w.Expect(w.c.Create(t.Context(), claim("bystander", "classless", "", "1Gi", rwx))).To(Succeed())
	unrelated := claim("bystander", "unrelated", "other", "1Gi", rwx)
	w.Expect(w.c.Get(t.Context(), client.ObjectKeyFromObject(unrelated), unrelated)).To(Succeed())
	w.Expect(w.c.Delete(t.Context(), unrelated)).To(Succeed())
	err := w.c.Create(t.Context(), claim("bystander", "refused", "orphan", "1Gi", rwx))
	w.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "what was forbidden stays so: %v", err)
}
