package nfsbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/server"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// settleInterval is how long an empty backend that is being deleted is left alone before its servers stop, so that the
// CSI controller has seen the deletion, and a volume that it was just making is seen here. Times in conditions are whole
// seconds, so that it is a second less at worst.
const settleInterval = 6 * time.Second

// silentFor is how long the agent of an external server must have had no share before nobody waits for its word. It is longer than
// anything that passes by itself: an agent that starts anew, its pod's move to another node, a reboot of a small NAS.
const silentFor = 10 * time.Minute

// keepWhileInUse holds the deletion for as long as there is data, and keeps the servers as they should be meanwhile.
func (r *Reconciler) keepWhileInUse(ctx context.Context, s *scope) (*ctrl.Result, error) {
	if err := r.judgeUnseen(ctx, s); err != nil {
		return nil, err
	}
	used, why := s.inUse()
	former := apimeta.FindStatusCondition(s.before.Status.Conditions, v1alpha1.ConditionReleased)
	s.judged = true
	s.released = former != nil && former.Status == metav1.ConditionTrue
	if s.released && (!used || why.word == reasonServerUnreachable) { // we have stopped it ourselves, after it was empty
		s.deleting = true
		for _, shard := range s.shards {
			shard.InUse = false // whatever could not be asked since
		}
		return nil, nil
	}
	s.released = false
	if !used {
		return r.release(s, why, former), nil
	}
	s.waiting = &reason{reasonDeletionBlocked, why.sentence +
		"; the deletion waits until all volumes, snapshots and archives are deleted, and the servers run until then"}
	if _, err := r.followNodes(ctx, s); err != nil {
		return nil, err
	}
	if _, err := r.applyChildren(ctx, s); err != nil {
		return nil, err
	}
	if _, err := r.replacePods(ctx, s); err != nil {
		return nil, err
	}
	return r.waitOrPoll(ctx, s)
}

// release lets an empty backend go when it has been found empty for settleInterval, however many events there are
// meanwhile. It is written to the status before anything is deleted.
func (r *Reconciler) release(s *scope, why reason, former *metav1.Condition) *ctrl.Result {
	s.empty = true
	wait := settleInterval
	if former != nil {
		wait = former.LastTransitionTime.Add(settleInterval).Sub(s.now)
	}
	s.released = wait <= 0
	s.waiting = &reason{reasonReleased, why.sentence + "; the servers are about to be stopped"}
	return &ctrl.Result{RequeueAfter: max(wait, time.Millisecond)}
}

// judgeUnseen decides about servers that fail from their first start, so that no agent of theirs was ever seen. What lies
// on a disk that was there before cannot be known; but a disk that is kept loses nothing, and where no PersistentVolume
// names the server nobody is cut off from it. The same is true of a share, which is always kept, when it has not been there for
// silentFor.
func (r *Reconciler) judgeUnseen(ctx context.Context, s *scope) error {
	for _, shard := range s.shards {
		holds, why := shard.holdsData()
		if !holds || why.word != reasonServerUnreachable || !shard.keepsUnseen() {
			continue
		}
		named, err := r.named(ctx, shard)
		if err != nil {
			return err
		}
		shard.abandoned = !named
	}
	return nil
}

// keepsUnseen tells whether a server that cannot be asked has nothing that its backend's deletion would take away.
func (s *shardState) keepsUnseen() bool {
	return s.silent || !s.External() && s.ServerID == "" && s.failsFromStart() && s.Backend.Spec.DeletionPolicy != v1alpha1.DeletionDelete
}

// named looks through the PersistentVolumes and VolumeSnapshotContents of the cluster, which no cache of ours holds. It is asked for
// the deletion of a backend that never worked, or whose share is gone, and for nothing else.
func (r *Reconciler) named(ctx context.Context, shard *shardState) (bool, error) {
	prefix := fmt.Sprintf("%s/%d/", shard.Backend.Name, shard.Number)
	content, err := snapshots.AnyContent(ctx, r.Client, r.Uncached, names.Driver, func(content unstructured.Unstructured) bool {
		return slices.ContainsFunc(snapshots.HandlesOf(content), func(handle string) bool { return strings.HasPrefix(handle, prefix) })
	})
	if err != nil || content != "" {
		return true, err
	}
	for next := ""; ; {
		volumes := &corev1.PersistentVolumeList{}
		if err := r.Uncached.List(ctx, volumes, client.Limit(500), client.Continue(next)); err != nil {
			return true, fmt.Errorf("list PersistentVolumes: %w", err)
		}
		for i := range volumes.Items {
			source := volumes.Items[i].Spec.CSI
			if source != nil && source.Driver == names.Driver && strings.HasPrefix(source.VolumeHandle, prefix) {
				return true, nil
			}
		}
		if next = volumes.Continue; next == "" {
			return false, nil
		}
	}
}

// stopServers deletes the StatefulSets (or the Deployment) and waits for the pods: the disks must be unmounted before they
// are let go.
func (r *Reconciler) stopServers(ctx context.Context, s *scope) (*ctrl.Result, error) {
	for _, list := range []client.ObjectList{&appsv1.StatefulSetList{}, &appsv1.DeploymentList{}} {
		if err := r.deleteLabelled(ctx, s, list); err != nil {
			return nil, err
		}
	}
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, r.ofBackend(s)...); err != nil {
		return nil, fmt.Errorf("list pods: %w", err)
	}
	var errs []error
	for i := range pods.Items {
		// The garbage collector does this as well; with an orphaning delete nobody would.
		errs = append(errs, apply.Delete(ctx, r.Client, &pods.Items[i]))
	}
	if len(pods.Items) > 0 {
		s.waiting = &reason{reasonStoppingServers, fmt.Sprintf("waiting for %d server pods to stop", len(pods.Items))}
		return &ctrl.Result{}, errors.Join(errs...) // the watch on pods brings us back
	}
	return nil, errors.Join(errs...)
}

// releaseDisks lets the claims go. With Retain they stay, for a backend made anew under the same name; with Delete they
// are deleted, and their PersistentVolumes follow the reclaim policy that they came with.
func (r *Reconciler) releaseDisks(ctx context.Context, s *scope) (*ctrl.Result, error) {
	var errs []error
	for _, shard := range s.shards {
		if shard.Claim != nil {
			errs = append(errs, r.releaseDisk(ctx, shard))
		}
	}
	return nil, errors.Join(errs...)
}

func (r *Reconciler) releaseDisk(ctx context.Context, shard *shardState) error {
	if err := r.unguard(ctx, shard.Claim); err != nil {
		return err
	}
	remove := shard.Backend.Spec.DeletionPolicy == v1alpha1.DeletionDelete
	if remove && shard.volume != nil {
		if err := applyVolume(ctx, r.Client, server.ReleasedVolume(shard.volume)); err != nil {
			return err
		}
	}
	claim := server.ReleasedClaim(shard.Shard)
	if _, err := apply.Object(ctx, r.Client, &corev1.PersistentVolumeClaim{}, claim, corev1ac.ExtractPersistentVolumeClaim); err != nil {
		return err
	}
	if remove {
		return apply.Delete(ctx, r.Client, shard.Claim)
	}
	return nil
}

// deleteRest deletes what holds no data. Services last: an address that is given away must have no server behind it.
func (r *Reconciler) deleteRest(ctx context.Context, s *scope) (*ctrl.Result, error) {
	for _, list := range []client.ObjectList{
		&policyv1.PodDisruptionBudgetList{}, &corev1.ConfigMapList{}, &corev1.SecretList{},
	} {
		if err := r.deleteLabelled(ctx, s, list); err != nil {
			return nil, err
		}
	}
	services := &corev1.ServiceList{}
	if err := r.Client.List(ctx, services, r.ofBackend(s)...); err != nil {
		return nil, fmt.Errorf("list services: %w", err)
	}
	var errs []error
	for i := range services.Items {
		errs = append(errs, r.unguard(ctx, &services.Items[i]))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return nil, r.deleteLabelled(ctx, s, &corev1.ServiceList{})
}

// unguard takes off the label by which admission refuses the deletion, whoever has set it: an object that was restored
// from a backup has it from another field manager as well, and applying it without the label would not remove it.
func (r *Reconciler) unguard(ctx context.Context, obj client.Object) error {
	if _, guarded := obj.GetLabels()[meta.LabelInUse]; !guarded {
		return nil
	}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"labels":{%q:null}}}`, meta.LabelInUse))
	if err := r.Client.Patch(ctx, obj, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("take label %s off %T %s: %w", meta.LabelInUse, obj, obj.GetName(), err)
	}
	return nil
}

func (r *Reconciler) releaseFinalizer(ctx context.Context, s *scope) (*ctrl.Result, error) {
	before := s.backend.DeepCopy()
	if controllerutil.RemoveFinalizer(s.backend, names.Finalizer) {
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := r.Client.Patch(ctx, s.backend, patch); client.IgnoreNotFound(err) != nil {
			return nil, err
		}
	}
	s.gone = true
	return nil, nil
}

func (r *Reconciler) ofBackend(s *scope) []client.ListOption {
	return []client.ListOption{client.InNamespace(r.Namespace), client.MatchingLabels{names.LabelBackend: s.backend.Name}}
}

func (r *Reconciler) deleteLabelled(ctx context.Context, s *scope, list client.ObjectList) error {
	if err := r.Client.List(ctx, list, r.ofBackend(s)...); err != nil {
		return fmt.Errorf("list %T: %w", list, err)
	}
	var errs []error
	for obj := range objects(list) {
		errs = append(errs, apply.Delete(ctx, r.Client, obj))
	}
	return errors.Join(errs...)
}
