package storageprofile

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// indexBackend finds the profiles of a backend in the cache.
const indexBackend = "spec.backendRef.name"

// SetupWithManager watches StorageProfiles, their backends, and classes by name: also those that are not ours, for a
// profile goes on when the class in its way is gone.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.StorageProfile{}, indexBackend, func(obj client.Object) []string {
		return []string{obj.(*v1alpha1.StorageProfile).Spec.BackendRef.Name}
	})
	if err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named("storageprofile").
		For(&v1alpha1.StorageProfile{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&storagev1.StorageClass{}, handler.EnqueueRequestsFromMapFunc(sameName)).
		Watches(&v1alpha1.NFSBackend{}, handler.EnqueueRequestsFromMapFunc(r.profilesOf)).
		Complete(r)
}

func sameName(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
}

func (r *Reconciler) profilesOf(ctx context.Context, backend client.Object) []reconcile.Request {
	profiles := &v1alpha1.StorageProfileList{}
	if err := r.Client.List(ctx, profiles, client.MatchingFields{indexBackend: backend.GetName()}); err != nil {
		log.FromContext(ctx).Error(err, "Cannot list the profiles of a backend", "NFSBackend", backend.GetName())
		return nil
	}
	requests := make([]reconcile.Request, 0, len(profiles.Items))
	for i := range profiles.Items {
		requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&profiles.Items[i])})
	}
	return requests
}
