// Package deleteguard labels what must not be deleted while an NFSBackend is in use and is no operand of a backend: the
// namespace of the installation and our resource definitions. The policies in config/admission act on the label.
package deleteguard

import (
	"context"
	"errors"
	"fmt"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
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
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
)

// interval is how often the labels are looked at when nothing happens: nobody watches them.
const interval = 10 * time.Minute

// kinds of ours whose definitions are guarded.
var kinds = []string{"nfsbackends", "storageprofiles", "nfsdrivers"}

// Reconciler keeps the labels.
type Reconciler struct {
	Client client.Client
	// Uncached reads the few objects, of which there is no cache.
	Uncached  client.Reader
	Claim     install.Claim
	Namespace string
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;patch,namespace=nfs-operator-system
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=nfsbackends.storage.nfs-operator.io;storageprofiles.storage.nfs-operator.io;nfsdrivers.storage.nfs-operator.io,verbs=get;patch

// Reconcile looks after all labels; the request says nothing.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	if state, err := r.Claim.State(ctx); err != nil || state != install.Ours {
		return ctrl.Result{RequeueAfter: install.Interval}, err
	}
	backends := &v1alpha1.NFSBackendList{}
	if err := r.Client.List(ctx, backends); err != nil {
		return ctrl.Result{}, fmt.Errorf("list NFSBackends: %w", err)
	}
	used := false
	for i := range backends.Items {
		used = used || inUse(&backends.Items[i])
	}
	errs := []error{r.label(ctx, "Namespace", schema.GroupVersion{Version: "v1"}, r.Namespace, used)}
	for _, kind := range kinds {
		errs = append(errs, r.label(ctx, "CustomResourceDefinition",
			schema.GroupVersion{Group: "apiextensions.k8s.io", Version: "v1"}, kind+"."+v1alpha1.GroupVersion.Group, used))
	}
	return ctrl.Result{RequeueAfter: interval}, errors.Join(errs...)
}

func inUse(backend client.Object) bool {
	b, ok := backend.(*v1alpha1.NFSBackend)
	return ok && apimeta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionInUse)
}

// label sets or takes off the label, and writes nothing when it is as it should be.
func (r *Reconciler) label(ctx context.Context, kind string, version schema.GroupVersion, name string, used bool) error {
	obj := &metav1.PartialObjectMetadata{}
	obj.SetGroupVersionKind(version.WithKind(kind))
	if err := r.Uncached.Get(ctx, client.ObjectKey{Name: name}, obj); err != nil {
		return client.IgnoreNotFound(err)
	}
	if _, labelled := obj.Labels[meta.LabelInUse]; labelled == used {
		return nil
	}
	value := "null"
	if used {
		value = `"true"`
	}
	patch := fmt.Appendf(nil, `{"metadata":{"labels":{%q:%s}}}`, meta.LabelInUse, value)
	if err := r.Client.Patch(ctx, obj, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("label %s %s: %w", kind, name, err)
	}
	return nil
}

// SetupWithManager has a pass at start, and when a backend comes into use or out of it.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	request := reconcile.Request{NamespacedName: types.NamespacedName{Name: "all"}}
	atStart := source.Func(func(_ context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		queue.Add(request)
		return nil
	})
	changes := predicate.Funcs{
		CreateFunc: func(e event.CreateEvent) bool { return inUse(e.Object) },
		UpdateFunc: func(e event.UpdateEvent) bool { return inUse(e.ObjectOld) != inUse(e.ObjectNew) },
	}
	one := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{request}
	})
	return ctrl.NewControllerManagedBy(mgr).
		Named("deleteguard").
		WatchesRawSource(atStart).
		Watches(&v1alpha1.NFSBackend{}, one, builder.WithPredicates(changes)).
		Complete(r)
}
