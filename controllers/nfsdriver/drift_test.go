//go:build envtest

package nfsdriver

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// TestEditedAndDeletedStackIsPutBack: what is ours, that is. What people write beside it stays.
func TestEditedAndDeletedStackIsPutBack(t *testing.T) {
	w := newWorld(t)
	w.backend()
	w.settle()
	controller, node, csiDriver := &appsv1.Deployment{}, &appsv1.DaemonSet{}, &storagev1.CSIDriver{}
	for _, test := range []struct {
		name     string
		key      client.ObjectKey
		obj      client.Object
		edit     func()
		restored func()
	}{
		{
			"Deployment",
			client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentController},
			controller,
			func() {
				controller.Spec.Replicas = new(int32(0))
				controller.Spec.Template.Spec.Containers[0].Args = []string{"sleep"}
			},
			func() {
				w.Expect(*controller.Spec.Replicas).To(BeEquivalentTo(2))
				w.Expect(controller.Spec.Template.Spec.Containers[0].Args).NotTo(ContainElement("sleep"))
			},
		},
		{
			"DaemonSet",
			client.ObjectKey{Namespace: testenv.Namespace, Name: names.ComponentNode},
			node,
			func() {
				node.Spec.Template.Spec.Containers[0].Args = []string{"sleep"}
				node.Spec.Template.Spec.HostNetwork = false
			},
			func() {
				w.Expect(node.Spec.Template.Spec.Containers[0].Args).To(ContainElement("--node-name=$(NODE_NAME)"))
				w.Expect(node.Spec.Template.Spec.HostNetwork).To(BeTrue())
			},
		},
		{
			"CSIDriver",
			client.ObjectKey{Name: names.Driver},
			csiDriver,
			func() {
				csiDriver.Spec.PodInfoOnMount, csiDriver.Spec.StorageCapacity = new(true), new(true)
				csiDriver.Spec.FSGroupPolicy = new(storagev1.NoneFSGroupPolicy)
			},
			func() {
				w.Expect(*csiDriver.Spec.PodInfoOnMount).To(BeFalse())
				w.Expect(*csiDriver.Spec.StorageCapacity).To(BeFalse())
				w.Expect(*csiDriver.Spec.FSGroupPolicy).To(Equal(storagev1.FileFSGroupPolicy))
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w.Expect(w.c.Get(t.Context(), test.key, test.obj)).To(Succeed())
			labels := test.obj.GetLabels()
			test.edit()
			test.obj.SetLabels(map[string]string{"example.org/mine": "stays"}) // and ours are gone
			test.obj.SetAnnotations(map[string]string{"example.org/note": "stays"})
			w.Expect(w.c.Update(t.Context(), test.obj)).To(Succeed())
			expect := func() {
				t.Helper()
				w.settle()
				w.Expect(w.c.Get(t.Context(), test.key, test.obj)).To(Succeed())
				test.restored()
				for key, value := range labels {
					w.Expect(test.obj.GetLabels()).To(HaveKeyWithValue(key, value))
				}
			}
			expect()
			w.Expect(test.obj.GetLabels()).To(HaveKeyWithValue("example.org/mine", "stays"))
			w.Expect(test.obj.GetAnnotations()).To(HaveKeyWithValue("example.org/note", "stays"))
			w.Expect(w.c.Delete(t.Context(), test.obj)).To(Succeed())
			expect()
		})
	}
	w.rollOut()
	w.settle()
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}
