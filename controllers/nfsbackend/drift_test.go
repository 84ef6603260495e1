//go:build envtest

package nfsbackend

import (
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// operand is one object of a backend, and what a hand can do to it.
type operand struct {
	name string
	key  client.ObjectKey
	obj  client.Object
	edit func()
	// restored checks that the edit is undone.
	restored func()
	// keeps is true where the object must not be deleted in this test.
	keeps bool
}

// operands of a backend with one server.
func (w *world) operands() []operand {
	set, service, config, secret := &appsv1.StatefulSet{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{}
	var port int32
	claim, disk, budget := &corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}, &policyv1.PodDisruptionBudget{}
	return []operand{
		{
			name: "StatefulSet", key: w.shard(), obj: set,
			edit: func() {
				set.Spec.Replicas = new(int32(0))
				set.Spec.Template.Spec.Containers[0].Image = "example.org/other"
			},
			restored: func() {
				w.Expect(*set.Spec.Replicas).To(BeEquivalentTo(1))
				w.Expect(set.Spec.Template.Spec.Containers[0].Image).To(Equal(w.r.Image))
			},
		},
		{
			name: "Service", key: w.shard(), obj: service,
			edit: func() {
				service.Spec.PublishNotReadyAddresses = false
				port = service.Spec.Ports[0].Port
				service.Spec.Ports[0].Port++ // whose name ours has
				delete(service.Labels, meta.LabelInUse)
			},
			restored: func() {
				w.Expect(service.Spec.PublishNotReadyAddresses).To(BeTrue())
				w.Expect(service.Spec.Ports[0].Port).To(Equal(port))
				w.Expect(service.Spec.ClusterIP).To(Equal(w.backend().Status.Shards[0].Address))
				w.Expect(service.Labels).To(HaveKeyWithValue(meta.LabelInUse, "true"))
			},
		},
		{
			name: "ConfigMap", key: w.shard(), obj: config,
			edit:     func() { config.Data[names.KeyAgentConfig] = "backend: another" },
			restored: func() { w.Expect(config.Data[names.KeyAgentConfig]).To(ContainSubstring(w.name)) },
		},
		{
			name: "Secret", key: w.shard(), obj: secret,
			edit:     func() { secret.Data[names.KeyCA] = []byte("nobody") },
			restored: func() { w.Expect(string(secret.Data[names.KeyCA])).To(HavePrefix("-----BEGIN CERTIFICATE")) },
		},
		{
			name: "PodDisruptionBudget", key: client.ObjectKey{Namespace: testenv.Namespace, Name: "nfsd-" + w.name}, obj: budget,
			edit: func() { // the two exclude each other
				budget.Spec.MaxUnavailable, budget.Spec.MinAvailable = nil, new(intstr.FromInt32(1))
			},
			restored: func() {
				w.Expect(budget.Spec.MinAvailable).To(BeNil())
				w.Expect(budget.Spec.MaxUnavailable.IntValue()).To(Equal(1))
				w.Expect(*budget.Spec.UnhealthyPodEvictionPolicy).To(Equal(policyv1.AlwaysAllow))
				w.Expect(budget.ManagedFields).NotTo(ContainElement(HaveField("Manager", replacer)), "what a second owner has stays when we no longer want it")
			},
		},
		{
			name: "PersistentVolumeClaim", key: w.claimKey(), obj: claim, keeps: true,
			edit: func() {
				claim.Finalizers = nil
				delete(claim.Annotations, meta.AnnotationServerID)
				delete(claim.Labels, meta.LabelInUse)
			},
			restored: func() {
				w.Expect(claim.Finalizers).To(ContainElement(names.Finalizer))
				w.Expect(claim.Annotations).To(HaveKey(meta.AnnotationServerID))
				w.Expect(claim.Labels).To(HaveKeyWithValue(meta.LabelInUse, "true"))
			},
		},
		{
			name: "PersistentVolume", key: client.ObjectKey{Name: "disk-" + w.name}, obj: disk, keeps: true,
			edit: func() { disk.Spec.PersistentVolumeReclaimPolicy = corev1.PersistentVolumeReclaimDelete },
			restored: func() {
				w.Expect(disk.Spec.PersistentVolumeReclaimPolicy).To(Equal(corev1.PersistentVolumeReclaimRetain))
			},
		},
	}
}

func TestEditedAndDeletedOperandsArePutBack(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(1)
	for _, o := range w.operands() {
		t.Run(o.name, func(t *testing.T) {
			w.get(o.key, o.obj)
			o.edit()
			labels, annotations := o.obj.GetLabels(), o.obj.GetAnnotations()
			if annotations == nil {
				annotations = map[string]string{}
			}
			labels["example.org/mine"], annotations["example.org/mine"] = "stays", "stays"
			o.obj.SetLabels(labels)
			o.obj.SetAnnotations(annotations)
			w.Expect(w.c.Update(t.Context(), o.obj)).To(Succeed())
			w.settle()
			w.get(o.key, o.obj)
			o.restored()
			w.Expect(o.obj.GetLabels()).To(HaveKeyWithValue("example.org/mine", "stays"))
			w.Expect(o.obj.GetAnnotations()).To(HaveKeyWithValue("example.org/mine", "stays"))
			w.Expect(o.obj.GetLabels()).To(HaveKeyWithValue(names.LabelBackend, w.name))
			if o.keeps {
				return
			}
			w.Expect(w.c.Delete(t.Context(), o.obj)).To(Succeed())
			w.settle()
			w.get(o.key, o.obj)
			o.restored()
		})
	}
	w.Expect(kstatus(w)).To(Equal(status.CurrentStatus))
}

// replacer is the field manager of package apply's replacements.
const replacer = "nfs-operator-replace"

// What a replacement has written is taken over also when the manager ended before it could.
func TestReplacementThatWasCutOff(t *testing.T) {
	w := newWorld(t)
	w.create(nil)
	w.ready(0)
	budget := &policyv1.PodDisruptionBudget{}
	key := client.ObjectKey{Namespace: testenv.Namespace, Name: "nfsd-" + w.name}
	w.get(key, budget)
	changed := budget.DeepCopy()
	changed.Spec.UnhealthyPodEvictionPolicy = new(policyv1.IfHealthyBudget)
	w.Expect(w.c.Patch(t.Context(), changed, client.MergeFrom(budget), client.FieldOwner(replacer))).To(Succeed())
	w.Expect(changed.ManagedFields).To(ContainElement(HaveField("Manager", replacer)))
	w.settle()
	w.get(key, budget)
	w.Expect(*budget.Spec.UnhealthyPodEvictionPolicy).To(Equal(policyv1.AlwaysAllow))
	w.Expect(budget.ManagedFields).NotTo(ContainElement(HaveField("Manager", replacer)))
}
