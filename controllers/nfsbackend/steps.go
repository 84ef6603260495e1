package nfsbackend

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	policyv1ac "k8s.io/client-go/applyconfigurations/policy/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/server"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/tls"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// observe reads what there is of each server.
func (r *Reconciler) observe(ctx context.Context, s *scope) (*ctrl.Result, error) {
	count := int32(1) // of an external server: its agent
	if s.backend.Spec.Server != nil {
		count = s.backend.Spec.Server.Shards
	}
	var shards []*shardState
	for number := range count {
		shard := &shardState{
			Shard: server.Shard{Backend: s.backend, Number: number, Namespace: r.Namespace, Image: r.Image},
			last:  lastStatus(s.before, number),
		}
		shard.ServerID = shard.last.ServerID
		if err := r.observeShard(ctx, shard); err != nil {
			return nil, err
		}
		shards = append(shards, shard)
	}
	s.shards = shards // all or none: a status without a server would forget its address
	return nil, nil
}

func (r *Reconciler) observeShard(ctx context.Context, shard *shardState) (err error) {
	key := client.ObjectKey{Namespace: r.Namespace, Name: shard.Name()}
	if shard.service, err = find(ctx, r.Client, key, &corev1.Service{}); err != nil {
		return err
	}
	shard.Address = shard.last.Address
	if shard.Address == "" && shard.service != nil {
		shard.Address = shard.service.Spec.ClusterIP
	}
	if shard.External() {
		return r.observeExternal(ctx, shard)
	}
	if shard.statefulSet, err = find(ctx, r.Client, key, &appsv1.StatefulSet{}); err != nil {
		return err
	}
	podKey := client.ObjectKey{Namespace: r.Namespace, Name: shard.Name() + "-0"}
	if shard.pod, err = find(ctx, r.Client, podKey, &corev1.Pod{}); err != nil {
		return err
	}
	claimKey := client.ObjectKey{Namespace: r.Namespace, Name: shard.ClaimName()}
	if shard.Claim, err = find(ctx, r.Client, claimKey, &corev1.PersistentVolumeClaim{}); err != nil {
		return err
	}
	return r.observeVolume(ctx, shard)
}

func (r *Reconciler) observeVolume(ctx context.Context, shard *shardState) (err error) {
	if shard.Host() != nil {
		return r.observeHostVolume(ctx, shard)
	}
	if shard.Claim == nil || shard.Claim.Status.Phase != corev1.ClaimBound {
		return r.observeAdoptable(ctx, shard)
	}
	key := client.ObjectKey{Name: shard.Claim.Spec.VolumeName}
	if shard.volume, err = find(ctx, r.Client, key, &corev1.PersistentVolume{}); err != nil {
		return err
	}
	if shard.volume == nil { // not labelled yet, so not in the cache
		if shard.volume, err = find(ctx, r.Uncached, key, &corev1.PersistentVolume{}); err != nil {
			return err
		}
	}
	if shard.volume != nil {
		shard.DiskOnNetwork = server.OnNetwork(shard.volume)
	}
	return nil
}

// find is nil where there is no such object.
func find[T client.Object](ctx context.Context, reader client.Reader, key client.ObjectKey, obj T) (T, error) {
	var none T
	if err := reader.Get(ctx, key, obj); err != nil {
		if client.IgnoreNotFound(err) == nil {
			return none, nil
		}
		return none, fmt.Errorf("get %T %s: %w", obj, key.Name, err)
	}
	return obj, nil
}

// askAgents asks each server whose pod runs; all at once, for one that does not answer takes seconds to give up.
func (r *Reconciler) askAgents(ctx context.Context, s *scope) (*ctrl.Result, error) {
	var questions sync.WaitGroup
	for _, shard := range s.shards {
		questions.Go(func() { r.askAgent(ctx, shard) })
	}
	questions.Wait()
	for _, shard := range s.shards {
		r.notePod(shard, s.now)
		noteServerID(shard)
		if shard.External() {
			since := r.silent.note(shard.Name(), !shard.serving(), s.now)
			shard.silent = !since.IsZero() && s.now.Sub(since) >= silentFor
		}
		shard.InUse, _ = shard.holdsData()
		shard.checkAddress()
		shard.checkShare()
		if err := shard.checkTemplate(); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// pause ends the pass while the annotation is set: the status goes on to tell the truth, and nothing else is written but
// certificates, without which a long pause, or one across a change of the authority, would be an outage.
func (r *Reconciler) pause(ctx context.Context, s *scope) (*ctrl.Result, error) {
	if value, set := s.backend.Annotations[meta.AnnotationPaused]; !set || value == "false" {
		return nil, nil
	}
	s.paused = true
	r.turn.endOf(s.backend.Name)
	if !s.backend.DeletionTimestamp.IsZero() {
		s.waiting = &reason{reasonPaused, "the deletion waits until the annotation " + meta.AnnotationPaused + " is taken off"}
	}
	var errs []error
	for _, shard := range s.shards {
		if shard.statefulSet == nil && shard.deployment == nil { // there is no server yet, or it was stopped for the deletion
			continue
		}
		if err := r.applyCertificate(ctx, shard); err != nil && !errors.Is(err, authority.ErrNotYet) {
			errs = append(errs, fmt.Errorf("%s: %w", shard.Name(), err))
		}
	}
	return &ctrl.Result{RequeueAfter: pollInterval}, errors.Join(errs...)
}

func (r *Reconciler) askAgent(ctx context.Context, shard *shardState) {
	switch {
	case shard.External() && shard.pod == nil:
		shard.problem = reason{reasonPodMissing, "the agent's pod does not exist yet"}
	case shard.External():
		r.askPod(ctx, shard)
	case shard.Claim == nil:
		shard.problem = reason{reasonCreatingDisk, "the claim of the disk is being made"}
	case !shard.Claim.DeletionTimestamp.IsZero() && shard.Backend.DeletionTimestamp.IsZero():
		shard.problem = reason{reasonDiskDeleted, fmt.Sprintf(
			"PersistentVolumeClaim %s is being deleted; our finalizer holds it, but the server cannot start again", shard.ClaimName())}
	case shard.volume == nil && shard.pod == nil:
		shard.problem = reason{reasonWaitingForDisk, fmt.Sprintf("PersistentVolumeClaim %s is not bound to a disk", shard.ClaimName())}
	case shard.pod == nil:
		shard.problem = reason{reasonPodMissing, "the server's pod does not exist yet"}
	default:
		r.askPod(ctx, shard)
	}
}

// askPod asks the agent in the shard's pod.
func (r *Reconciler) askPod(ctx context.Context, shard *shardState) {
	if shard.pod.Status.Phase != corev1.PodRunning || shard.pod.Status.PodIP == "" {
		shard.problem = shard.podProblem()
		return
	}
	status, err := r.Agents.Status(ctx, shard.Name(), shard.pod.Status.PodIP)
	if err != nil && podReady(shard.pod) { // one lost answer is no reason to tell people that the server is down
		status, err = r.Agents.Status(ctx, shard.Name(), shard.pod.Status.PodIP)
	}
	if err != nil {
		log.FromContext(ctx).V(1).Info("Agent cannot be asked", "shard", shard.Name(), "error", err.Error())
		shard.problem = shard.podProblem()
		if shard.problem.word == reasonPodStarting { // the error's text varies, and has no place in a condition
			shard.problem = reason{reasonAgentUnreachable, "the agent does not answer"}
		}
		return
	}
	shard.agent = status
	if !status.GetServing() {
		shard.problem = reason{orElse(status.GetReason(), agentv1.ReasonStarting), orElse(status.GetMessage(), "the server starts")}
	}
}

// awaitAuthority ends the pass while there are no certificates to give: an ordinary wait after the first start.
func (r *Reconciler) awaitAuthority(ctx context.Context, s *scope) (*ctrl.Result, error) {
	if _, err := authority.Load(ctx, r.Client, r.Namespace); errors.Is(err, authority.ErrNotYet) {
		s.waiting = &reason{reasonAwaitingAuthority, err.Error()}
		return &ctrl.Result{RequeueAfter: authorityInterval}, nil
	}
	return nil, nil // what else may be wrong with it is told by those who need it
}

// applyChildren applies all objects even if some fail, so that one broken server stops no other.
func (r *Reconciler) applyChildren(ctx context.Context, s *scope) (*ctrl.Result, error) {
	var errs []error
	for _, shard := range s.shards {
		if err := r.applyShard(ctx, shard); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", shard.Name(), err))
		}
	}
	if s.external() {
		return nil, errors.Join(errs...) // a budget for one pod that may go would say nothing
	}
	budget := server.DisruptionBudget(s.backend.Name, r.Namespace)
	_, err := apply.Object(ctx, r.Client, &policyv1.PodDisruptionBudget{}, budget, policyv1ac.ExtractPodDisruptionBudget)
	return nil, errors.Join(append(errs, err)...)
}

func (r *Reconciler) applyShard(ctx context.Context, shard *shardState) error {
	if shard.misconfigured() {
		return errors.Join(r.applyService(ctx, shard), r.applyCertificate(ctx, shard))
	}
	err := errors.Join(
		r.applyDisk(ctx, shard), r.applyService(ctx, shard), r.applyConfig(ctx, shard), r.applyCertificate(ctx, shard))
	switch {
	case err != nil:
		return err // a pod that is made without its Secret or ConfigMap only waits for them
	case shard.External():
		return r.applyDeployment(ctx, shard)
	}
	return errors.Join(r.applyStatefulSet(ctx, shard), r.beginAnew(ctx, shard))
}

func (r *Reconciler) applyConfig(ctx context.Context, shard *shardState) error {
	config, err := server.ConfigMap(shard.Shard)
	if err != nil {
		return err
	}
	_, err = apply.Object(ctx, r.Client, &corev1.ConfigMap{}, config, corev1ac.ExtractConfigMap)
	return err
}

// applyCertificate keeps the certificate that is there until it has to be renewed.
func (r *Reconciler) applyCertificate(ctx context.Context, shard *shardState) error {
	ca, err := authority.Load(ctx, r.Client, r.Namespace)
	if err != nil {
		return err
	}
	live, err := find(ctx, r.Client, client.ObjectKey{Namespace: r.Namespace, Name: shard.Name()}, &corev1.Secret{})
	if err != nil {
		return err
	}
	var pair pki.Pair
	if live != nil {
		pair = authority.PairOf(live)
	}
	id := pki.Identity{Role: pki.RoleAgent, Name: shard.Name()}
	if now := time.Now(); ca.NeedsRenewal(now, pair.Cert, id) {
		if pair, err = ca.Issue(now, id, pki.LeafLifetime); err != nil {
			return err
		}
	}
	secret := tls.Secret(shard.Name(), r.Namespace, shard.Labels(), pair, ca.Bundle())
	_, err = apply.Object(ctx, r.Client, &corev1.Secret{}, secret, corev1ac.ExtractSecret)
	return err
}

func (r *Reconciler) applyStatefulSet(ctx context.Context, shard *shardState) error {
	set, err := server.StatefulSet(shard.Shard)
	if err != nil {
		return err
	}
	live := &appsv1.StatefulSet{}
	wrote, err := apply.Object(ctx, r.Client, live, set, appsv1ac.ExtractStatefulSet)
	if wrote {
		shard.statefulSet = nil // what was read is no longer true; the watch brings us back
		return err
	}
	shard.statefulSet = live
	return err
}

func (r *Reconciler) waitOrPoll(_ context.Context, s *scope) (*ctrl.Result, error) {
	for _, shard := range s.shards {
		lost := shard.trouble != nil && shard.trouble.word == reasonAddressLost // mounts hang until it is back
		if lost || !shard.serving() || shard.outdated && s.mayReplace(shard) {
			return &ctrl.Result{RequeueAfter: busyInterval}, nil
		}
	}
	return &ctrl.Result{RequeueAfter: pollInterval}, nil
}

func lastStatus(backend *v1alpha1.NFSBackend, number int32) v1alpha1.ShardStatus {
	for _, shard := range backend.Status.Shards {
		if shard.Shard == number {
			return shard
		}
	}
	return v1alpha1.ShardStatus{Shard: number}
}

func orElse(text, fallback string) string {
	if text == "" {
		return fallback
	}
	return text
}
