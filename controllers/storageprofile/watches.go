package storageprofile

import (
	"context"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// indexBackend finds the profiles that may use a backend in the cache; those with a selector are under bySelector, which
// is no backend's name.
const (
	indexBackend = "spec.backendRef.name"
	bySelector   = "*"
)

// SetupWithManager watches StorageProfiles, their backends, and classes by name: also those that are not ours, for a
// profile goes on when the class in its way is gone.
func (r *Reconciler) SetupWithManager(ctx context.Context, mgr ctrl.Manager) error {
	err := mgr.GetFieldIndexer().IndexField(ctx, &v1alpha1.StorageProfile{}, indexBackend, func(obj client.Object) []string {
		spec := obj.(*v1alpha1.StorageProfile).Spec
		if spec.BackendSelector != nil {
			return []string{bySelector}
		}
		return []string{spec.BackendRef.Name}
	})
	if err != nil {
		return err
	}
	c, err := ctrl.NewControllerManagedBy(mgr).
		Named("storageprofile").
		For(&v1alpha1.StorageProfile{}, builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&v1alpha1.StorageProfile{}, handler.EnqueueRequestsFromMapFunc(r.rivalsOf), builder.WithPredicates(predicate.GenerationChangedPredicate{})).
		Watches(&storagev1.StorageClass{}, handler.EnqueueRequestsFromMapFunc(sameName)).
		Watches(&admissionv1.ValidatingAdmissionPolicy{}, handler.EnqueueRequestsFromMapFunc(profileLabel)).
		Watches(&admissionv1.ValidatingAdmissionPolicyBinding{}, handler.EnqueueRequestsFromMapFunc(profileLabel)).
		Watches(&v1alpha1.NFSBackend{}, handler.EnqueueRequestsFromMapFunc(r.profilesOf)).
		WatchesMetadata(snapshots.CRD(), handler.EnqueueRequestsFromMapFunc(r.allProfiles)).
		// A pass mostly waits for the API server: one after the other, a thousand profiles took two minutes.
		WithOptions(controller.Options{MaxConcurrentReconciles: 8}).
		Build(r)
	if err != nil {
		return err
	}
	r.watchSnapshotClasses = onceWatching(c, mgr.GetCache())
	return nil
}

// onceWatching watches classes of snapshots from the first call on, when their CRD is there. The watch outlives the CRD.
func onceWatching(c controller.Controller, from cache.Cache) func(context.Context) error {
	var lock sync.Mutex
	watching := false
	return func(context.Context) error {
		lock.Lock()
		defer lock.Unlock()
		if watching {
			return nil
		}
		class := &unstructured.Unstructured{}
		class.SetGroupVersionKind(profile.SnapshotClassKind)
		toProfile := handler.TypedEnqueueRequestsFromMapFunc(func(ctx context.Context, obj *unstructured.Unstructured) []reconcile.Request {
			return sameName(ctx, obj)
		})
		err := c.Watch(source.Kind(from, class, toProfile))
		watching = err == nil
		return err
	}
}

func sameName(_ context.Context, obj client.Object) []reconcile.Request {
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: obj.GetName()}}}
}

func profileLabel(_ context.Context, obj client.Object) []reconcile.Request {
	name := obj.GetLabels()[names.LabelProfile]
	if name == "" {
		return nil
	}
	return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: name}}}
}

func (r *Reconciler) allProfiles(ctx context.Context, _ client.Object) []reconcile.Request {
	return r.list(ctx)
}

// profilesOf are those that name the backend and those whose selector it matches. Of a change, this is asked with the
// labels before and after.
func (r *Reconciler) profilesOf(ctx context.Context, backend client.Object) []reconcile.Request {
	named := r.list(ctx, client.MatchingFields{indexBackend: backend.GetName()})
	return append(named, r.selecting(ctx, backend)...)
}

func (r *Reconciler) selecting(ctx context.Context, backend client.Object) []reconcile.Request {
	return r.listIf(ctx, func(p *v1alpha1.StorageProfile) bool {
		return p.Spec.Selects(backend.GetName(), backend.GetLabels())
	}, client.MatchingFields{indexBackend: bySelector})
}

func (r *Reconciler) list(ctx context.Context, options ...client.ListOption) []reconcile.Request {
	return r.listIf(ctx, func(*v1alpha1.StorageProfile) bool { return true }, options...)
}

func (r *Reconciler) listIf(ctx context.Context, wanted func(*v1alpha1.StorageProfile) bool, options ...client.ListOption) []reconcile.Request {
	profiles := &v1alpha1.StorageProfileList{}
	if err := r.Client.List(ctx, profiles, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		log.FromContext(ctx).Error(err, "Cannot list StorageProfiles")
		return nil
	}
	var requests []reconcile.Request
	for i := range profiles.Items {
		if wanted(&profiles.Items[i]) {
			requests = append(requests, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(&profiles.Items[i])})
		}
	}
	return requests
}
