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

// followNodes closes the grants of nodes that are really gone, or of a boot that is over, and of no others, and admits those that are back.
// Nodes that announce themselves are not looked up.
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
	if !gone && !refused && node != nil {
		return r.endBoot(ctx, s, shard, node)
	}
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

// endBoot closes what a node was granted before it booted, if it has not said so itself: it was installed anew under its name, and has forgotten
// which servers it used. Only a kubelet that is well is believed: after a boot its Node has the former boot id until it has written its status.
func (r *Reconciler) endBoot(ctx context.Context, s *scope, shard *shardState, node *corev1.Node) error {
	granted, now := shard.agent.GetSilentBoots()[node.Name], node.Status.NodeInfo.BootID
	if granted == "" || now == "" || granted == now || !isReady(node) {
		return nil
	}
	request := &agentv1.SetNodeGoneRequest{Node: node.Name, EndedBootId: granted}
	if err := r.Agents.SetNodeGone(ctx, shard.Name(), shard.pod.Status.PodIP, request); err != nil {
		return fmt.Errorf("tell that node %s has booted: %w", node.Name, err)
	}
	r.event(s, corev1.EventTypeNormal, "NodeBooted", fmt.Sprintf("Closed the grants that node %s had on %s before it booted", node.Name, shard.Name()))
	return nil
}

func isReady(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Status.Conditions, func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
	})
}

func outOfService(node *corev1.Node) bool {
	return slices.ContainsFunc(node.Spec.Taints, func(taint corev1.Taint) bool { return taint.Key == corev1.TaintNodeOutOfService })
}
