package server

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
)

// DisruptionBudget lets drains take one server of a backend at a time. Anything stricter would block the drain of a
// node for ever when the backend has a single server, and a server that is not ready protects nothing.
func DisruptionBudget(backend, namespace string) *policyv1ac.PodDisruptionBudgetApplyConfiguration {
	labels := meta.Backend(backend)
	return policyv1ac.PodDisruptionBudget("nfsd-"+backend, namespace).
		WithLabels(labels).
		WithSpec(policyv1ac.PodDisruptionBudgetSpec().
			WithMaxUnavailable(intstr.FromInt32(1)).
			WithUnhealthyPodEvictionPolicy(policyv1.AlwaysAllow).
			WithSelector(metav1ac.LabelSelector().WithMatchLabels(labels)))
}
