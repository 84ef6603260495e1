package nfsbackend

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// SetupWithManager watches NFSBackends and all that is labelled as belonging to one: no owner reference leads there.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	b := ctrl.NewControllerManagedBy(mgr).
		Named("nfsbackend").
		For(&v1alpha1.NFSBackend{}, builder.WithPredicates(
			predicate.Or(predicate.GenerationChangedPredicate{}, predicate.AnnotationChangedPredicate{}))).
		// A server that does not answer holds its worker for up to ten seconds, and all of them may be silent at once.
		WithOptions(controller.Options{MaxConcurrentReconciles: 16})
	for _, child := range []client.Object{
		&appsv1.StatefulSet{}, &appsv1.Deployment{}, &corev1.Pod{}, &corev1.Service{}, &corev1.ConfigMap{}, &corev1.Secret{},
		&corev1.PersistentVolumeClaim{}, &corev1.PersistentVolume{}, &policyv1.PodDisruptionBudget{},
	} {
		b = b.Watches(child, handler.EnqueueRequestsFromMapFunc(backendOf))
	}
	return b.Complete(r)
}

func backendOf(_ context.Context, obj client.Object) []reconcile.Request {
	if name := obj.GetLabels()[names.LabelBackend]; name != "" {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: name}}}
	}
	return nil
}
