package nfsbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// goneAfter is how long there must have been no Node object before a silent node counts as gone. An object that is deleted
// under a living node and registered anew must cost no grant: nobody would open it again.
const goneAfter = 10 * time.Minute

// absences notes since when something of a name (a Node object, the share of an agent) has not been there. A manager that was restarted begins anew, which only
// makes it later.
type absences struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// note returns since when it has been absent, or the zero time when it is there.
func (a *absences) note(name string, absent bool, now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !absent {
		delete(a.since, name)
		return time.Time{}
	}
	if a.since == nil {
		a.since = map[string]time.Time{}
	}
	if _, known := a.since[name]; !known {
		a.since[name] = now
	}
	return a.since[name]
}

// followNodes closes the grants of nodes that are really gone, and of no others, and admits those that are back. Nodes that
// announce themselves are not looked up.
//
// What fails is tried again in the next pass, and is no reason to leave the servers alone: an agent that is older than the
// manager, or whose server is down, cannot be told.
func (r *Reconciler) followNodes(ctx context.Context, s *scope) (*ctrl.Result, error) {
	var errs []error
	for _, shard := range s.shards {
		for _, name := range shard.agent.GetGrantedNodes() {
			errs = append(errs, r.followNode(ctx, s, shard, name, false))
		}
		for _, name := range shard.agent.GetGoneNodes() {
			errs = append(errs, r.followNode(ctx, s, shard, name, true))
		}
	}
	if err := errors.Join(errs...); err != nil {
		log.FromContext(ctx).Error(err, "Cannot follow nodes that come and go")
	}
	return nil, nil
}

func (r *Reconciler) followNode(ctx context.Context, s *scope, shard *shardState, name string, refused bool) error {
	announces := slices.Contains(shard.agent.GetNodes(), name)
	if announces && !refused {
		r.absent.note(name, false, s.now)
		return nil
	}
	node, err := find(ctx, r.Uncached, client.ObjectKey{Name: name}, &corev1.Node{})
	if err != nil {
		return err
	}
	since := r.absent.note(name, node == nil, s.now)
	fenced := node != nil && outOfService(node)
	gone := fenced || node == nil && s.now.Sub(since) >= goneAfter
	if gone == refused || refused && node == nil {
		return nil
	}
	request := &agentv1.SetNodeGoneRequest{Node: name, Gone: gone, Fenced: fenced}
	if err := r.Agents.SetNodeGone(ctx, shard.Name(), shard.pod.Status.PodIP, request); err != nil {
		return fmt.Errorf("tell whether node %s is gone: %w", name, err)
	}
	if gone {
		r.event(s, corev1.EventTypeNormal, "NodeGone", fmt.Sprintf("Closed the grants of node %s on %s: the node is gone", name, shard.Name()))
	} else {
		r.event(s, corev1.EventTypeNormal, "NodeBack", fmt.Sprintf("Node %s is back, and may use %s again", name, shard.Name()))
	}
	return nil
}

func outOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeOutOfService })
}
