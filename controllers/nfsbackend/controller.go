// Package nfsbackend runs NFS servers for NFSBackends: a StatefulSet, disk, address and certificate for each shard; and for
// an external server its agent, as a Deployment, which counts as the only shard.
package nfsbackend

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	// pollInterval is how often agents are asked when nothing seems to happen.
	pollInterval = 30 * time.Second
	// busyInterval is the same while a server is on its way.
	busyInterval = 5 * time.Second
	// authorityInterval is how often the certificate authority is looked for after the manager's first start.
	authorityInterval = time.Second
)

// Agents asks the agents of servers how they are.
type Agents interface {
	Status(ctx context.Context, shard, host string) (*agentv1.ServerStatus, error)
	SetNodeGone(ctx context.Context, shard, host string, node *agentv1.SetNodeGoneRequest) error
}

// Reconciler reconciles NFSBackends.
type Reconciler struct {
	Client client.Client
	// Uncached reads PersistentVolumes that are not ours yet: the cache holds those with our label only.
	Uncached client.Reader
	Recorder events.EventRecorder
	Agents   Agents
	Claim    install.Claim
	// Namespace of all operands.
	Namespace string
	// Image of the servers.
	Image string
	// Version of this operator, which its servers run as well.
	Version string
	// Now is the clock; nil is the real one.
	Now func() time.Time

	absent  absences
	silent  absences // of agents of external servers
	podless absences // of pods that Kubernetes was asked for
	turn    turn
	cluster clusterIdentity
}

// scope is one pass over one NFSBackend.
type scope struct {
	// before is what was read; the status patch is made against it.
	before *v1alpha1.NFSBackend
	// backend is changed in its status only.
	backend *v1alpha1.NFSBackend
	// now is when the pass began.
	now time.Time
	// version is what the servers should run.
	version string
	// shards in the order of their numbers; set by observe.
	shards []*shardState
	// empty is true when all servers were found empty for the deletion, released when they were so for settleInterval,
	// and may stop; set by keepWhileInUse.
	empty, released bool
	// judged is true when these two were set; what the last pass has found holds otherwise.
	judged bool
	// paused is true while the annotation says so: nothing but the status and certificates is written. Set by pause.
	paused bool
	// deleting is true once the deletion has passed keepWhileInUse, and takes things away.
	deleting bool
	// waiting says what the pass has ended to wait for; set by awaitAuthority and by the steps of the deletion.
	waiting *reason
	// updatesWhen says what has to happen before the next server is replaced; empty when nothing has to. Set by replacePods.
	updatesWhen string
	// again is when the pass wants another one at the latest, beside its result; set by patchStatus.
	again time.Duration
	// gone is true when the finalizer was removed, and there is no status to write.
	gone bool
}

// reason is why something is as it is: a CamelCase word and a sentence.
type reason struct {
	word, sentence string
}

// step is a part of a pass. A result ends the pass; nil goes on.
type step func(context.Context, *scope) (*ctrl.Result, error)

// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=nfsbackends,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=storage.nfs-operator.io,resources=nfsbackends/status,verbs=patch
// +kubebuilder:rbac:groups="",resources=persistentvolumes,verbs=get;list;watch;create;patch
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get
// +kubebuilder:rbac:groups="",resources=namespaces,resourceNames=kube-system,verbs=get
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=apps,resources=statefulsets;deployments,verbs=get;list;watch;create;patch;delete,namespace=nfs-operator-system
// +kubebuilder:rbac:groups="",resources=services;configmaps;secrets;persistentvolumeclaims,verbs=get;list;watch;create;patch;delete,namespace=nfs-operator-system
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;delete,namespace=nfs-operator-system
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete,namespace=nfs-operator-system

// Reconcile brings the servers of one NFSBackend to what its spec says.
func (r *Reconciler) Reconcile(ctx context.Context, req ctrl.Request) (res ctrl.Result, reterr error) {
	if state, err := r.Claim.State(ctx); err != nil || state != install.Ours {
		return ctrl.Result{RequeueAfter: install.Interval}, err
	}
	backend := &v1alpha1.NFSBackend{}
	if err := r.Client.Get(ctx, req.NamespacedName, backend); err != nil {
		if apierrors.IsNotFound(err) {
			r.turn.endOf(req.Name)
			r.silent.note(names.Shard(req.Name, 0), false, r.now()) // for another backend of the name
		}
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if err := r.ensureFinalizer(ctx, backend); err != nil {
		return apply.Result(ctrl.Result{}, err)
	}
	s := &scope{before: backend.DeepCopy(), backend: backend, now: r.now(), version: r.Version}
	defer func() {
		if s.gone || apierrors.IsConflict(reterr) { // where a cache was behind, what was found is not worth telling
			res, reterr = apply.Result(res, reterr)
			return
		}
		summarize(s, reterr)
		if err := r.patchStatus(ctx, s); err != nil {
			reterr = err // not errors.Join: a joined TerminalError would stop the retry
		}
		if s.again > 0 && (res.RequeueAfter == 0 || s.again < res.RequeueAfter) {
			res.RequeueAfter = s.again
		}
		res, reterr = apply.Result(res, reterr)
	}()
	if !backend.DeletionTimestamp.IsZero() {
		r.turn.endOf(backend.Name)
		return run(ctx, s, r.observe, r.askAgents, r.pause, r.keepWhileInUse, r.stopServers, r.releaseDisks, r.deleteRest, r.releaseFinalizer)
	}
	return run(ctx, s, r.observe, r.askAgents, r.pause, r.followNodes, r.awaitAuthority, r.applyChildren, r.replacePods, r.waitOrPoll)
}

func (r *Reconciler) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}

func run(ctx context.Context, s *scope, steps ...step) (ctrl.Result, error) {
	for _, step := range steps {
		result, err := step(ctx, s)
		if err != nil {
			return ctrl.Result{}, err
		}
		if result != nil {
			return *result, nil
		}
	}
	return ctrl.Result{}, nil
}

func (r *Reconciler) ensureFinalizer(ctx context.Context, backend *v1alpha1.NFSBackend) error {
	if !backend.DeletionTimestamp.IsZero() || controllerutil.ContainsFinalizer(backend, names.Finalizer) {
		return nil
	}
	before := backend.DeepCopy()
	controllerutil.AddFinalizer(backend, names.Finalizer)
	return r.Client.Patch(ctx, backend, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
}

func (r *Reconciler) patchStatus(ctx context.Context, s *scope) error {
	s.again = throttle(s.before.Status, &s.backend.Status, s.now)
	if equality.Semantic.DeepEqual(s.before.Status, s.backend.Status) {
		return nil
	}
	if err := apply.Status(ctx, r.Client, s.before, s.backend); err != nil {
		return err
	}
	r.announce(s)
	return nil
}
