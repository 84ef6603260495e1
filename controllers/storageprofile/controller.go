// Package storageprofile makes from each StorageProfile a StorageClass, a VolumeSnapshotClass and an admission policy.
package storageprofile

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
)

// Reconciler reconciles StorageProfiles. They have no finalizer: deleting one removes what was made from it, and nothing
// else.
type Reconciler struct {
	Client   client.Client
	Recorder events.EventRecorder
	Claim    install.Claim
	// watchSnapshotClasses starts the watch of VolumeSnapshotClasses, whose CRD may come later; set by SetupWithManager.
	watchSnapshotClasses func(context.Context) error
}

// scope is one pass over one StorageProfile.
type scope struct {
	// before is what was read; the status patch is made against it.
	before *v1alpha1.StorageProfile
	// profile is changed in its status only.
	profile *v1alpha1.StorageProfile
	// foreign is what of the profile's name is in the way and not ours; set by applyClass and applySnapshotClass.
	foreign *foreign
	// snapshotClass tells whether the class of snapshots is there; set by applySnapshotClass.
	snapshotClass bool
	// backends are those that the spec selects; set by findBackends.
	backends []*v1alpha1.NFSBackend
	// rivals are profiles of the same backends that ask for other connections, each in words; set by findRivals.
	rivals []string
}

// foreign is an object that is in the way.
type foreign struct{ kind, name, madeBy, wayOut string }

// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=storageprofiles,verbs=get;list;watch
// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=storageprofiles/status,verbs=patch
// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=storageprofiles/finalizers,verbs=update
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=snapshot.storage.k8s.io,resources=volumesnapshotclasses,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=get;list;watch;create;patch;delete

// Reconcile brings what is made from one StorageProfile to what its spec says.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (res ctrl.Result, reterr error) {
	if state, err := r.Claim.State(ctx); err != nil || state != install.Ours {
		return ctrl.Result{RequeueAfter: install.Interval}, err
	}
	profile := &v1alpha1.StorageProfile{}
	if err := r.Client.Get(ctx, req.NamespacedName, profile); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !profile.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // what was made from it follows by its owner references
	}
	s := &scope{before: profile.DeepCopy(), profile: profile}
	err := r.reconcile(ctx, s)
	if apierrors.IsConflict(err) { // where a cache was behind, what was found is not worth telling
		return apply.Result(ctrl.Result{}, err)
	}
	summarize(s, err)
	if patchErr := r.patchStatus(ctx, s); patchErr != nil {
		err = patchErr
	}
	return apply.Result(ctrl.Result{}, err)
}

// reconcile makes the policy before the class: a class that tenants can see is guarded.
func (r *Reconciler) reconcile(ctx context.Context, s *scope) error {
	if err := r.applyPolicy(ctx, s); err != nil {
		return err
	}
	return errors.Join(r.applyClass(ctx, s), r.findBackends(ctx, s), r.findRivals(ctx, s), r.applySnapshotClass(ctx, s))
}

func (r *Reconciler) findBackends(ctx context.Context, s *scope) error {
	list := &v1alpha1.NFSBackendList{}
	if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil { // nothing changes them here
		return fmt.Errorf("list NFSBackends: %w", err)
	}
	s.backends = selectedBy(s.profile, list)
	return nil
}

func (r *Reconciler) patchStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.before.Status, s.profile.Status) {
		return nil
	}
	if err := apply.Status(ctx, r.Client, s.before, s.profile); err != nil {
		return err
	}
	conditions.Announce(r.Recorder, s.profile, s.before.Status.Conditions, s.profile.Status.Conditions,
		reasonForeignClass, reasonForeignSnapshotClass, reasonNoSpace, reasonApplyFailed)
	return nil
}
