package nfsbackend

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
)

// replacePods deletes at most one pod that is not what it should be. A Deployment replaces its own.
func (r *Reconciler) replacePods(ctx context.Context, s *scope) (*ctrl.Result, error) {
	if s.external() {
		return nil, nil
	}
	if err := r.renewMounts(ctx, s); err != nil {
		return nil, err
	}
	for _, shard := range s.shards {
		if shard.serving() && shard.pod.DeletionTimestamp.IsZero() && (!shard.outdated || !s.mayReplace(shard)) {
			r.turn.end(shard.Name())
		}
	}
	for _, shard := range s.shards {
		if !shard.outdated || !shard.pod.DeletionTimestamp.IsZero() || !templateObserved(shard) || !s.mayReplace(shard) {
			continue
		}
		// A server that does not serve is no reason to leave it as it is: the new version may be what mends it.
		if shard.mayServe() {
			if !othersServe(s, shard) {
				continue
			}
			var err error
			if s.updatesWhen, err = r.awaitTurn(ctx, s, shard); err != nil || s.updatesWhen != "" {
				return nil, err
			}
		}
		if err := apply.Delete(ctx, r.Client, shard.pod); err != nil {
			return nil, err
		}
		r.event(s, corev1.EventTypeNormal, "ReplacingPod", fmt.Sprintf("Replacing the pod of %s %s", shard.Name(), s.fromTo()))
		return nil, nil
	}
	return nil, nil
}

// remountInterval is how old a pod must be to be replaced for its mount: that of one may be in use until the next is there, which then has
// the same, and what the node itself has mounted does not become another so.
const remountInterval = 2 * time.Minute

// renewMounts deletes the pods of servers whose file system has shut down and was mounted by the kubelet, which does it anew only for another
// pod. They do not serve, so that no strategy and no other server is a reason to wait.
func (r *Reconciler) renewMounts(ctx context.Context, s *scope) error {
	for _, shard := range s.shards {
		if shard.agent.GetReason() != agentv1.ReasonFilesystemFailed || shard.pod == nil || !shard.pod.DeletionTimestamp.IsZero() ||
			s.now.Sub(shard.pod.CreationTimestamp.Time) < remountInterval {
			continue
		}
		if err := apply.Delete(ctx, r.Client, shard.pod); err != nil {
			return err
		}
		r.event(s, corev1.EventTypeWarning, "ReplacingPod", fmt.Sprintf("Replacing the pod of %s, so that its file system is mounted anew", shard.Name()))
	}
	return nil
}

// mayReplace tells whether the update strategy leaves it to us to replace the pod now.
func (s *scope) mayReplace(shard *shardState) bool {
	if s.external() {
		return true
	}
	strategy := s.backend.Spec.Server.UpdateStrategy
	switch {
	case strategy.Type == v1alpha1.UpdateOnDelete:
		return false
	case !shard.mayServe() || strategy.MaintenanceWindow == nil:
		return true
	default:
		return open(*strategy.MaintenanceWindow, s.now)
	}
}

// templateObserved: before that, the StatefulSet's controller would make the new pod from the old template.
func templateObserved(shard *shardState) bool {
	set := shard.statefulSet
	return set != nil && set.Status.ObservedGeneration >= set.Generation
}

// othersServe asks for what the agents say, not for Ready pods: one that answers its probe may be on its way down.
func othersServe(s *scope, this *shardState) bool {
	for _, shard := range s.shards {
		if shard != this && (!shard.serving() || !shard.pod.DeletionTimestamp.IsZero()) {
			return false
		}
	}
	return true
}

// open tells whether a window is open. One that opened yesterday may be so past midnight.
func open(window v1alpha1.MaintenanceWindow, now time.Time) bool {
	hour, minute, _ := strings.Cut(window.Start, ":")
	h, _ := strconv.Atoi(hour) // the API server has checked it
	m, _ := strconv.Atoi(minute)
	now = now.UTC()
	for _, ago := range []int{0, 1} {
		start := time.Date(now.Year(), now.Month(), now.Day()-ago, h, m, 0, 0, time.UTC)
		end := start.Add(time.Duration(window.DurationMinutes) * time.Minute)
		opens := len(window.Days) == 0 || slices.Contains(window.Days, v1alpha1.Weekday(start.Weekday().String()))
		if opens && !now.Before(start) && now.Before(end) {
			return true
		}
	}
	return false
}

// fromTo says what an update changes.
func (s *scope) fromTo() string {
	for _, shard := range s.shards {
		if from := shard.last.Version; shard.outdated && from != "" && s.version != "" && from != s.version {
			return fmt.Sprintf("from version %s to %s", from, s.version)
		}
	}
	return "for a changed configuration"
}

// outdated counts the servers whose pods are to be replaced, and those of them that are ours to replace now.
func (s *scope) outdated() (all, now int) {
	for _, shard := range s.shards {
		if shard.outdated {
			all++
			if s.mayReplace(shard) {
				now++
			}
		}
	}
	return all, now
}

// awaits says what has to happen before outdated pods are replaced.
func (s *scope) awaits() string {
	strategy := s.backend.Spec.Server.UpdateStrategy
	if strategy.Type == v1alpha1.UpdateOnDelete {
		return "when their pods are deleted (updateStrategy OnDelete)"
	}
	days := "daily"
	if window := strategy.MaintenanceWindow; window != nil {
		if len(window.Days) > 0 {
			words := make([]string, 0, len(window.Days))
			for _, day := range window.Days {
				words = append(words, string(day))
			}
			days = strings.Join(words, ", ")
		}
		return fmt.Sprintf("when the maintenance window opens (%s at %s UTC)", days, window.Start)
	}
	return "soon"
}
