// Package nfsdriver runs the CSI driver: the CSIDriver object, the controller and the node plugin.
package nfsdriver

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
	"github.com/nfs-operator/nfs-operator/controllers/internal/images"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
)

// lookInterval is how often to look for what is not watched, for that would be the whole cluster's: the last
// PersistentVolume and VolumeSnapshotContent that goes.
const lookInterval = time.Minute

// Reconciler reconciles NFSDriver/default, and makes it when there is none.
type Reconciler struct {
	Client client.Client
	// Uncached reads what is asked for rarely, PersistentVolumes and snapshots of the driver.
	Uncached client.Reader
	Recorder events.EventRecorder
	Claim    install.Claim
	// Namespace of all operands.
	Namespace string
	Images    images.Set

	// asideOf is the installation that was told of to own the driver; there is one NFSDriver, and one worker.
	asideOf string
}

// scope is one pass.
type scope struct {
	// before is what was read; the status patch is made against it.
	before *v1alpha1.NFSDriver
	// driver is changed in its status only.
	driver *v1alpha1.NFSDriver
	// needed says why the stack must exist; empty when it need not. Set by decide.
	needed string
	// conflict says why the CSIDriver cannot be what it should be; set by applyCSIDriver.
	conflict string
	// snapshots is whether the cluster has the CRDs of snapshots; set by applyStack.
	snapshots bool
	// controller, node and csiDriver are nil where they do not exist; set by observe.
	controller *appsv1.Deployment
	node       *appsv1.DaemonSet
	csiDriver  *storagev1.CSIDriver
	// gone is true when the finalizer was removed from an object being deleted.
	gone bool
}

// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=nfsdrivers,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=nfsdrivers/status,verbs=patch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=csidrivers,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=serviceaccounts,resourceNames=csi-controller;csi-node,verbs=get,namespace=nfs-operator-system
// +kubebuilder:rbac:groups=apps,resources=deployments;daemonsets,verbs=get;list;watch;create;patch;delete,namespace=nfs-operator-system

// Reconcile brings the CSI stack to what the NFSDriver says, for as long as anything needs it.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (ctrl.Result, error) {
	driver := &v1alpha1.NFSDriver{}
	err := r.Client.Get(ctx, req.NamespacedName, driver)
	if apierrors.IsNotFound(err) && req.Name == install.DriverName {
		return ctrl.Result{}, r.create(ctx)
	}
	if err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	switch r.Claim.Of(driver) {
	case install.Unclaimed:
		return apply.Result(ctrl.Result{}, r.claim(ctx, driver)) // the status patch brings us back
	case install.Ours:
	case install.Foreign:
		r.standAside(ctx, driver)
		return ctrl.Result{RequeueAfter: lookInterval}, nil
	}
	s := &scope{before: driver.DeepCopy(), driver: driver}
	err = r.reconcile(ctx, s)
	if s.gone || apierrors.IsConflict(err) { // where a cache was behind, what was found is not worth telling
		return apply.Result(ctrl.Result{}, err)
	}
	summarize(s, err)
	if patchErr := r.patchStatus(ctx, s); patchErr != nil {
		err = patchErr
	}
	return apply.Result(ctrl.Result{RequeueAfter: lookInterval}, err)
}

func (r *Reconciler) reconcile(ctx context.Context, s *scope) error {
	if err := r.observe(ctx, s); err != nil {
		return err
	}
	if err := r.decide(ctx, s); err != nil {
		return err
	}
	if s.needed == "" {
		return r.removeStack(ctx, s)
	}
	return r.applyStack(ctx, s)
}

func (r *Reconciler) create(ctx context.Context) error {
	driver := &v1alpha1.NFSDriver{ObjectMeta: metav1.ObjectMeta{Name: install.DriverName}}
	if err := r.Client.Create(ctx, driver); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("make NFSDriver %s: %w", install.DriverName, err)
	}
	return nil
}

// claim makes the driver ours. Of two installations that do this at once, the optimistic lock lets one through.
func (r *Reconciler) claim(ctx context.Context, driver *v1alpha1.NFSDriver) error {
	before := driver.DeepCopy()
	driver.Status.InstallNamespace = r.Namespace
	err := r.Client.Status().Patch(ctx, driver, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	if err != nil {
		return fmt.Errorf("claim NFSDriver %s: %w", driver.Name, err)
	}
	r.Recorder.Eventf(driver, nil, corev1.EventTypeNormal, "Claimed", "Reconcile",
		"The operator in namespace %s runs this driver", r.Namespace)
	return nil
}

// standAside tells people once in the life of a manager, and again when the driver changes hands.
func (r *Reconciler) standAside(ctx context.Context, driver *v1alpha1.NFSDriver) {
	owner := driver.Status.InstallNamespace
	if r.asideOf == owner {
		return
	}
	r.asideOf = owner
	log.FromContext(ctx).Info("Standing aside: the driver belongs to another installation", "namespace", r.Namespace, "owner", owner)
	r.Recorder.Eventf(driver, nil, corev1.EventTypeWarning, "StandingAside", "Reconcile",
		"The operator in namespace %s does nothing, because the one in namespace %s runs this driver: remove one of the two", r.Namespace, owner)
}

func (r *Reconciler) patchStatus(ctx context.Context, s *scope) error {
	if equality.Semantic.DeepEqual(s.before.Status, s.driver.Status) {
		return nil
	}
	if err := apply.Status(ctx, r.Client, s.before, s.driver); err != nil {
		return err
	}
	conditions.Announce(r.Recorder, s.driver, s.before.Status.Conditions, s.driver.Status.Conditions,
		reasonDeletionBlocked, reasonConflict, reasonApplyFailed)
	return nil
}
