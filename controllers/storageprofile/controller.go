// Package storageprofile makes a StorageClass from each StorageProfile.
package storageprofile

import (
	"context"

	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
)

// Reconciler reconciles StorageProfiles. They have no finalizer: deleting one removes its class, and nothing else.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	Claim    install.Claim
}

// scope is one pass over one StorageProfile.
type scope struct {
	// before is what was read; the status patch is made against it.
	before *v1alpha1.StorageProfile
	// profile is changed in its status only.
	profile *v1alpha1.StorageProfile
	// foreign is a class of the profile's name that is not ours; set by applyClass.
	foreign *storagev1.StorageClass
	// backend is nil where it does not exist; set by findBackend.
	backend *v1alpha1.NFSBackend
}

// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=storageprofiles,verbs=get;list;watch
// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=storageprofiles/status,verbs=patch
// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=storageprofiles/finalizers,verbs=update
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get;list;watch;create;patch;delete

// Reconcile brings the StorageClass of one StorageProfile to what its spec says.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (res ctrl.Result, reterr error) {
	if state, err := r.Claim.State(ctx); err != nil || state != install.Ours {
		return ctrl.Result{RequeueAfter: install.Interval}, err
	}
	profile := &v1alpha1.StorageProfile{}
	if err := r.Client.Get(ctx, req.NamespacedName, profile); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !profile.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the class follows by its owner reference
	}
	s := &scope{before: profile.DeepCopy(), profile: profile}
	err := r.applyClass(ctx, s)
	if err == nil {
		err = r.findBackend(ctx, s)
	}
	summarize(s, err)
	if patchErr := r.patchStatus(ctx, s); patchErr != nil {
		err = patchErr
	}
	return apply.Result(ctrl.Result{}, err)
}

func (r *Reconciler) findBackend(ctx context.Context, s *scope) error {
	backend := &v1alpha1.NFSBackend{}
	err := r.Client.Get(ctx, client.ObjectKey{Name: s.profile.Spec.BackendRef.Name}, backend)
	if err == nil {
		s.backend = backend
	}
	return client.IgnoreNotFound(err)
}

func (r *Reconciler) patchStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.before.Status, s.profile.Status) {
		return nil
	}
	if err := apply.Status(ctx, r.Client, s.before, s.profile); err != nil {
		return err
	}
	r.announce(s)
	return nil
}
