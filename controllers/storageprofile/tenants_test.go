//go:build envtest

package storageprofile

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

func (w *world) namespace(name string, labels map[string]string) {
	w.t.Helper()
	w.Expect(w.c.Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}})).To(Succeed())
}

func claim(namespace, name, class, size string, modes ...corev1.PersistentVolumeAccessMode) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      modes,
			Resources:        corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}},
		},
	}
}

// inForce waits until the API server refuses what the profile now refuses.
func (w *world) inForce(refused *corev1.PersistentVolumeClaim) {
	w.t.Helper()
	testenv.Await(w.t, func() bool {
		return apierrors.IsForbidden(w.c.Create(context.WithoutCancel(w.t.Context()), refused.DeepCopy(), client.DryRunAll))
	})
}

func gold() *v1alpha1.AllowedNamespaces {
	return &v1alpha1.AllowedNamespaces{
		Names:    []string{"shop"},
		Selector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"example.org/tier": "gold"}},
	}
}

const rwx, rwo = corev1.ReadWriteMany, corev1.ReadWriteOnce

func TestTenants(t *testing.T) {
	w := newWorld(t, "gold")
	w.namespace("shop", nil)
	w.namespace("bank", map[string]string{"example.org/tier": "gold"})
	w.namespace("stranger", map[string]string{"example.org/tier": "iron"})
	w.backend(true)
	w.create(func(p *v1alpha1.StorageProfile) {
		p.Spec.AllowedNamespaces = gold()
		p.Spec.MinVolumeSize, p.Spec.MaxVolumeSize = new(resource.MustParse("1Gi")), new(resource.MustParse("5Gi"))
		p.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{rwx}
	})
	w.settle()
	w.inForce(claim("stranger", "probe", "gold", "1Gi", rwx))
	annotated := claim("stranger", "old-way", "", "1Gi", rwx)
	annotated.Spec.StorageClassName = nil
	annotated.Annotations = map[string]string{"volume.beta.kubernetes.io/storage-class": "gold"}
	for name, test := range map[string]struct {
		claim *corev1.PersistentVolumeClaim
		want  []string
	}{
		"named namespace":        {claim("shop", "a", "gold", "1Gi", rwx), nil},
		"namespace with a label": {claim("bank", "a", "gold", "5Gi", rwx), nil},
		"stranger": {claim("stranger", "a", "gold", "1Gi", rwx), []string{
			"StorageProfile gold: allowedNamespaces: namespace stranger may not use it; shop, and those with the labels example.org/tier=gold may",
			"ask for the namespace to be allowed",
		}},
		"stranger by the old annotation":    {annotated, []string{"allowedNamespaces"}},
		"stranger with another class":       {claim("stranger", "b", "other", "100Gi", rwo), nil},
		"stranger with none":                {claim("stranger", "c", "", "100Gi", rwo), nil},
		"too small":                         {claim("shop", "b", "gold", "1023Mi", rwx), []string{"minVolumeSize: 1023Mi is less than 1Gi"}},
		"too large":                         {claim("shop", "c", "gold", "5121Mi", rwx), []string{"maxVolumeSize: 5121Mi is more than 5Gi. Ask for at most that"}},
		"a mode that is not offered":        {claim("shop", "d", "gold", "1Gi", rwo), []string{"accessModes: ReadWriteOnce is not offered; ReadWriteMany is"}},
		"one mode of two":                   {claim("shop", "e", "gold", "1Gi", rwx, rwo), []string{"accessModes: ReadWriteOnce is not offered"}},
		"least, in another unit":            {claim("shop", "f", "gold", "1073741824", rwx), nil},
		"least, by a rounded decimal":       {claim("shop", "g", "gold", "1.1G", rwx), nil},
		"a little less, by another decimal": {claim("shop", "h", "gold", "1G", rwx), []string{"minVolumeSize"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			err := w.c.Create(t.Context(), test.claim)
			if test.want == nil {
				g.Expect(err).NotTo(HaveOccurred())
				return
			}
			g.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
			for _, want := range test.want {
				g.Expect(err.Error()).To(ContainSubstring(want))
			}
		})
	}
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}

// TestTenantKeepsWhatItHas: a namespace loses its label and the profile becomes stricter while there are claims. They can
// be bound, labelled, expanded to what is allowed, and deleted.
func TestTenantKeepsWhatItHas(t *testing.T) {
	w := newWorld(t, "kept")
	w.namespace("leaver", map[string]string{"example.org/tier": "gold"})
	w.namespace("outsider", nil)
	w.namespace("probed", map[string]string{"example.org/tier": "gold"})
	w.backend(true)
	w.create(func(p *v1alpha1.StorageProfile) {
		p.Spec.AllowedNamespaces = gold()
		p.Spec.MaxVolumeSize = new(resource.MustParse("5Gi"))
	})
	w.settle()
	w.inForce(claim("outsider", "probe", "kept", "1Gi", rwx))
	small, large := claim("leaver", "small", "kept", "1Gi", rwo), claim("leaver", "large", "kept", "4Gi", rwo)
	w.Expect(w.c.Create(t.Context(), small)).To(Succeed())
	w.Expect(w.c.Create(t.Context(), large)).To(Succeed())

	namespace := &corev1.Namespace{}
	w.Expect(w.c.Get(t.Context(), client.ObjectKey{Name: "leaver"}, namespace)).To(Succeed())
	delete(namespace.Labels, "example.org/tier")
	w.Expect(w.c.Update(t.Context(), namespace)).To(Succeed())
	w.update(func(p *v1alpha1.StorageProfile) {
		p.Spec.MinVolumeSize, p.Spec.MaxVolumeSize = new(resource.MustParse("2Gi")), new(resource.MustParse("3Gi"))
		p.Spec.AccessModes = []corev1.PersistentVolumeAccessMode{rwx}
	})
	w.inForce(claim("probed", "new", "kept", "3584Mi", rwx)) // which the policy before would not refuse
	w.Expect(apierrors.IsForbidden(w.c.Create(t.Context(), claim("leaver", "new", "kept", "2Gi", rwx)))).To(BeTrue())
	w.settled(small, large)

	grow := func(pvc *corev1.PersistentVolumeClaim, size string) error {
		pvc.Spec.Resources.Requests[corev1.ResourceStorage] = resource.MustParse(size)
		return w.c.Update(t.Context(), pvc)
	}
	for _, pvc := range []*corev1.PersistentVolumeClaim{small, large} {
		pvc.Spec.VolumeName = "pv-" + pvc.Name
		w.Expect(w.c.Update(t.Context(), pvc)).To(Succeed(), "the binder binds it")
		pvc.Status.Phase = corev1.ClaimBound
		pvc.Status.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("512Mi")}
		w.Expect(w.c.Status().Update(t.Context(), pvc)).To(Succeed())
	}
	w.Expect(grow(small, "3Gi")).To(Succeed())
	err := grow(small, "4Gi")
	w.Expect(apierrors.IsForbidden(err)).To(BeTrue(), "%v", err)
	w.Expect(err.Error()).To(ContainSubstring("StorageProfile kept: maxVolumeSize: 4Gi is more than 3Gi"))
	w.Expect(apierrors.IsForbidden(grow(large, "5Gi"))).To(BeTrue())
	w.Expect(w.c.Get(t.Context(), client.ObjectKeyFromObject(large), large)).To(Succeed())
	w.Expect(grow(large, "3584Mi")).To(Succeed(), "an expansion that failed is taken back, though it is still too large")
	large.Labels = map[string]string{"mine": "still"}
	w.Expect(w.c.Update(t.Context(), large)).To(Succeed())

	large.Finalizers = append(large.Finalizers, "example.org/waits")
	w.Expect(w.c.Update(t.Context(), large)).To(Succeed())
	for _, pvc := range []*corev1.PersistentVolumeClaim{small, large} {
		w.Expect(w.c.Delete(t.Context(), pvc)).To(Succeed())
		w.Expect(w.c.Get(t.Context(), client.ObjectKeyFromObject(pvc), pvc)).To(Succeed())
		pvc.Finalizers = nil
		w.Expect(w.c.Update(t.Context(), pvc)).To(Succeed(), "its protection goes")
		w.Expect(apierrors.IsNotFound(w.c.Get(t.Context(), client.ObjectKeyFromObject(pvc), pvc))).To(BeTrue())
	}
}

func (w *world) settled(claims ...*corev1.PersistentVolumeClaim) {
	for _, pvc := range claims {
		w.Expect(w.c.Get(w.t.Context(), client.ObjectKeyFromObject(pvc), pvc)).To(Succeed())
	}
}

// TestPolicyComesAndGoes: an unrestricted profile has none, and what was edited by hand is put back.
func TestPolicyComesAndGoes(t *testing.T) {
	w := newWorld(t, "comes")
	w.namespace("passer", nil)
	w.backend(true)
	w.create(nil)
	w.settle()
	key := client.ObjectKey{Name: profile.PolicyName(w.name)}
	policy, binding := &admissionv1.ValidatingAdmissionPolicy{}, &admissionv1.ValidatingAdmissionPolicyBinding{}
	w.Expect(apierrors.IsNotFound(w.c.Get(t.Context(), key, policy))).To(BeTrue())

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.AllowedNamespaces = gold() })
	w.inForce(claim("passer", "a", "comes", "1Gi", rwx))
	w.Expect(w.c.Get(t.Context(), key, policy)).To(Succeed())
	w.Expect(w.c.Get(t.Context(), key, binding)).To(Succeed())
	w.Expect(metav1.IsControlledBy(policy, w.profile())).To(BeTrue())
	w.Expect(metav1.IsControlledBy(binding, w.profile())).To(BeTrue())
	w.Expect(policy.Spec.ParamKind).To(BeNil())

	policy.Spec.Validations[0].Expression = "true"
	policy.Labels["example.org/mine"] = "stays"
	w.Expect(w.c.Update(t.Context(), policy)).To(Succeed())
	w.settle()
	w.Expect(w.c.Get(t.Context(), key, policy)).To(Succeed())
	w.Expect(policy.Spec.Validations[0].Expression).To(ContainSubstring("request.namespace"))
	w.Expect(policy.Labels).To(HaveKeyWithValue("example.org/mine", "stays"))

	w.update(func(p *v1alpha1.StorageProfile) { p.Spec.AllowedNamespaces = nil })
	w.Expect(apierrors.IsNotFound(w.c.Get(t.Context(), key, policy))).To(BeTrue())
	w.Expect(apierrors.IsNotFound(w.c.Get(t.Context(), key, binding))).To(BeTrue())
	testenv.Await(t, func() bool {
		return w.c.Create(context.Background(), claim("passer", "a", "comes", "1Gi", rwx), client.DryRunAll) == nil
	})
	w.Expect(w.kstatus()).To(Equal(status.CurrentStatus))
}

// TestSelectors compiles each operator, and the largest profile that the API accepts: its policy must be evaluated within
// the API server's cost limits.
func TestSelectors(t *testing.T) {
	w := newWorld(t, "operators")
	w.backend(true)
	w.namespace("labelled", map[string]string{"a": "1", "b.example.org/c": "2"})
	w.namespace("bare", nil)
	w.create(nil)
	requirement := func(key string, operator metav1.LabelSelectorOperator, values ...v1alpha1.LabelValue) *v1alpha1.LabelSelector {
		return &v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelRequirement{{Key: key, Operator: operator, Values: values}}}
	}
	for i, test := range []struct {
		selector       *v1alpha1.LabelSelector
		labelled, bare bool
	}{
		{requirement("a", "In", "0", "1"), true, false},
		{requirement("a", "NotIn", "1"), false, true},
		{requirement("b.example.org/c", "Exists"), true, false},
		{requirement("a", "DoesNotExist"), false, true},
		{largestSelector(), false, false},
	} {
		probe := fmt.Sprintf("%dMi", 1000+i) // tells that this round's policy is in force
		w.update(func(p *v1alpha1.StorageProfile) {
			p.Spec.MinVolumeSize = new(resource.MustParse(fmt.Sprintf("%dMi", 1001+i)))
			p.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Selector: test.selector}
			if i == 4 {
				p.Spec.AllowedNamespaces.Names = manyNames()
			}
		})
		inForce := func() bool {
			err := w.c.Create(context.Background(), claim("bare", "x", w.name, probe, rwx), client.DryRunAll)
			return err != nil && (strings.Contains(err.Error(), "minVolumeSize") || !test.bare && strings.Contains(err.Error(), "labels "+describe(test.selector)))
		}
		testenv.Await(t, inForce)
		for namespace, allowed := range map[string]bool{"labelled": test.labelled, "bare": test.bare} {
			err := w.c.Create(t.Context(), claim(namespace, "x", w.name, "2Gi", rwx), client.DryRunAll)
			w.Expect(err == nil).To(Equal(allowed), "%s in %s: %v", test.selector, namespace, err)
			if !allowed {
				w.Expect(err.Error()).To(ContainSubstring("allowedNamespaces"), "refused by the rule, not by its cost")
			}
		}
	}
}

func describe(selector *v1alpha1.LabelSelector) string {
	text := selector.String()
	return text[:min(len(text), 1024)]
}

func manyNames() []string {
	names := make([]string, 256)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%03d", strings.Repeat("n", 59), i)
	}
	return names
}

func largestSelector() *v1alpha1.LabelSelector {
	selector := &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{}}
	prefix := strings.Repeat("p.", 126) + "p/"
	for i := range 16 {
		values := make([]v1alpha1.LabelValue, 32)
		for j := range values {
			values[j] = v1alpha1.LabelValue(fmt.Sprintf("%s-%03d", strings.Repeat("v", 59), j))
		}
		selector.MatchLabels[fmt.Sprintf("%s%s-%02d", prefix, strings.Repeat("k", 60), i)] = values[0]
		selector.MatchExpressions = append(selector.MatchExpressions,
			v1alpha1.LabelRequirement{Key: fmt.Sprintf("%s%s-%02d", prefix, strings.Repeat("x", 60), i), Operator: metav1.LabelSelectorOpIn, Values: values})
	}
	return selector
}
