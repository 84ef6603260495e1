package nfsbackend

import (
	"context"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	appsv1ac "k8s.io/client-go/applyconfigurations/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/server"
)

// external tells whether the backend's NFS server exists elsewhere, so that its only shard is an agent.
func (s *scope) external() bool { return s.backend.Spec.External != nil }

func (r *Reconciler) observeExternal(ctx context.Context, shard *shardState) (err error) {
	if shard.Cluster, err = r.cluster.get(ctx, r.Uncached); err != nil {
		return err
	}
	key := client.ObjectKey{Namespace: r.Namespace, Name: shard.Name()}
	if shard.deployment, err = find(ctx, r.Client, key, &appsv1.Deployment{}); err != nil {
		return err
	}
	pods := &corev1.PodList{}
	if err := r.Client.List(ctx, pods, client.InNamespace(r.Namespace), client.MatchingLabels(shard.Labels())); err != nil {
		return fmt.Errorf("list pods of %s: %w", shard.Name(), err)
	}
	for i := range pods.Items {
		if pod := &pods.Items[i]; shard.pod == nil || succeeds(pod, shard.pod) {
			shard.pod = pod
		}
	}
	return nil
}

// succeeds tells which of two pods of a Deployment is the one to ask: not the one that is on its way out, nor what an
// eviction has left behind.
func succeeds(pod, other *corev1.Pod) bool {
	if goes, otherGoes := podEnds(pod), podEnds(other); goes != otherGoes {
		return otherGoes
	}
	return other.CreationTimestamp.Before(&pod.CreationTimestamp)
}

func podEnds(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
}

func (r *Reconciler) applyDeployment(ctx context.Context, shard *shardState) error {
	deployment, err := server.Deployment(shard.Shard)
	if err != nil {
		return err
	}
	if live := shard.deployment; live != nil && live.Spec.Strategy.RollingUpdate != nil {
		// Somebody else's, and invalid beside Recreate: an apply cannot take it away.
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"strategy":{"type":"Recreate","rollingUpdate":null}}}`))
		if err := r.Client.Patch(ctx, live.DeepCopy(), patch); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("give Deployment %s back its strategy: %w", live.Name, err)
		}
	}
	if _, err = apply.Object(ctx, r.Client, &appsv1.Deployment{}, deployment, appsv1ac.ExtractDeployment); err != nil || !shard.mistaken {
		return err
	}
	return apply.Delete(ctx, r.Client, shard.pod) // the next one knows the identity from the start, and serves no other share
}

// checkShare says what the agent would not accept: one that runs goes on with what it has.
func (s *shardState) checkShare() {
	if !s.External() {
		return
	}
	if err := server.CheckExternal(s.Shard); err != nil {
		s.trouble = &reason{agentv1.ReasonShareOptions, fmt.Sprintf("%v: correct spec.external, or the annotation %s; until then the agent stays as it is",
			err, meta.AnnotationTakeOverShare)}
	}
}

// misconfigured tells whether the agent would refuse its configuration.
func (s *shardState) misconfigured() bool {
	return s.External() && s.trouble != nil && s.trouble.word == agentv1.ReasonShareOptions
}

// noteShare takes the identity of the first share that is served, and keeps it. A share that is not served may be any. An agent that
// did not know the identity yet, and found an empty mount point in the place of the share, has begun a new server there.
func noteShare(shard *shardState) {
	shard.ServerID = shard.last.ServerID
	switch found := shard.agent.GetServerId(); {
	case !shard.serving() || found == "":
	case shard.ServerID == "":
		shard.ServerID = found
	case found != shard.ServerID:
		shard.mistaken, shard.agent = true, nil
		shard.problem = reason{agentv1.ReasonShareChanged, fmt.Sprintf("the agent has mounted the share of server %s, but this backend's volumes lie on server %s: "+
			"is the file system behind the export mounted at the server, and the path the one that it was? The agent is started again, and waits for the right one",
			found, shard.ServerID)}
	}
}

func externalServes(s *scope) string {
	external := s.backend.Spec.External
	return fmt.Sprintf("the agent has mounted the share %s of %s", external.Path, external.Server)
}

// clusterIdentity is the uid of the namespace kube-system, which is as old as the cluster and is never made anew.
type clusterIdentity struct {
	mu  sync.Mutex
	uid string
}

func (c *clusterIdentity) get(ctx context.Context, reader client.Reader) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.uid != "" {
		return c.uid, nil
	}
	namespace := &corev1.Namespace{}
	if err := reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, namespace); err != nil {
		return "", fmt.Errorf("get namespace %s for the cluster's identity: %w", metav1.NamespaceSystem, err)
	}
	c.uid = string(namespace.UID)
	return c.uid, nil
}
