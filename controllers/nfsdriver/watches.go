package nfsdriver

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

var defaultDriver = reconcile.Request{NamespacedName: types.NamespacedName{Name: install.DriverName}}

// SetupWithManager watches the NFSDriver, the stack, and whether there are backends. A first pass is made at start,
// when there may be no NFSDriver whose event would cause one.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(defaultDriver)
		return nil
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("nfsdriver").
		For(&v1alpha1.NFSDriver{}, builder.WithPredicates(predicate.Or(predicate.GenerationChangedPredicate{}, claimChanged()))).
		WatchesRawSource(atStart).
		Watches(&appsv1.Deployment{}, handler.EnqueueRequestsFromMapFunc(component(names.ComponentController))).
		Watches(&appsv1.DaemonSet{}, handler.EnqueueRequestsFromMapFunc(component(names.ComponentNode))).
		Watches(&storagev1.CSIDriver{}, handler.EnqueueRequestsFromMapFunc(ownCSIDriver)).
		Watches(&v1alpha1.NFSBackend{}, handler.EnqueueRequestsFromMapFunc(toDefault), builder.WithPredicates(comesOrGoes())).
		WatchesMetadata(snapshots.CRD(), handler.EnqueueRequestsFromMapFunc(toDefault)).
		Complete(r)
}

func toDefault(context.Context, client.Object) []reconcile.Request {
	return []reconcile.Request{defaultDriver}
}

func component(name string) handler.MapFunc {
	return func(ctx context.Context, obj client.Object) []reconcile.Request {
		if obj.GetLabels()[names.LabelComponent] != name {
			return nil
		}
		return toDefault(ctx, obj)
	}
}

func ownCSIDriver(ctx context.Context, obj client.Object) []reconcile.Request {
	if obj.GetName() != names.Driver {
		return nil
	}
	return toDefault(ctx, obj)
}

func claimChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		before, isDriver := e.ObjectOld.(*v1alpha1.NFSDriver)
		after, isAlso := e.ObjectNew.(*v1alpha1.NFSDriver)
		return isDriver && isAlso && before.Status.InstallNamespace != after.Status.InstallNamespace
	}}
}

func comesOrGoes() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(event.UpdateEvent) bool { return false }}
}
