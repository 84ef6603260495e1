package nfsbackend

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
)

// noteServerID takes the identity of the first disk that an agent has found, and keeps it: a disk with another one, or with none, is not
// the one that has the volumes. A status can be lost with its custom resource, the note on the claim with the claim, that on the
// PersistentVolume with the disk only.
func noteServerID(shard *shardState) {
	if shard.External() {
		noteShare(shard)
		return
	}
	found := shard.agent.GetServerId()
	shard.forgotten = shard.givenUp()
	unlessForgotten := func(id string) string {
		if id == shard.forgotten {
			return ""
		}
		return id
	}
	var onClaim string
	if shard.Claim != nil {
		onClaim = unlessForgotten(shard.Claim.Annotations[meta.AnnotationServerID])
	}
	if disk := cmp.Or(shard.volume, shard.Adopted); disk != nil {
		shard.DiskID = unlessForgotten(disk.Annotations[meta.AnnotationServerID])
	}
	shard.ServerID = cmp.Or(unlessForgotten(shard.last.ServerID), onClaim, shard.DiskID, found)
	switch found {
	case "":
	case shard.ServerID:
		shard.DiskID = found
	default:
		shard.mistaken, shard.agent = true, nil
		shard.problem = reason{shard.diskChanged(), fmt.Sprintf("the agent has found the disk of server %s, but the volumes lie on server %s: "+
			"has the disk been replaced, or swapped with another? Put the right one back; docs/backends.md says how to begin with another one if it is lost for good",
			found, shard.ServerID)}
	}
}

// diskChanged is the agent's word for a disk that is not the one that has the volumes.
func (s *shardState) diskChanged() string {
	if s.Mounted() {
		return agentv1.ReasonFilesystemChanged
	}
	return agentv1.ReasonDiskChanged
}

// givenUp is the identity that the annotation names, while another disk is there than the one that has it: an agent has said so. A
// disk that is only away, or whose agent is, keeps its identity.
func (s *shardState) givenUp() string {
	id, found := s.Backend.Annotations[meta.AnnotationGiveUpServer], s.agent.GetServerId()
	if found == id || found == "" && s.agent.GetReason() != s.diskChanged() {
		return ""
	}
	return id
}

// forget takes the identity that was given up off the disk's objects, whoever has written it there: a restore from a backup has it from
// another field manager as well.
func (r *Reconciler) forget(ctx context.Context, shard *shardState) error {
	if shard.forgotten == "" {
		return nil
	}
	var objects []client.Object
	if shard.Claim != nil {
		objects = append(objects, shard.Claim)
	}
	if shard.volume != nil {
		objects = append(objects, shard.volume)
	}
	var errs []error
	for _, obj := range objects {
		if obj.GetAnnotations()[meta.AnnotationServerID] != shard.forgotten {
			continue
		}
		patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":{"annotations":{%q:null}}}`, meta.AnnotationServerID))
		if err := r.Client.Patch(ctx, obj.DeepCopyObject().(client.Object), patch); client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("take annotation %s off %T %s: %w", meta.AnnotationServerID, obj, obj.GetName(), err))
		}
	}
	return errors.Join(errs...)
}

// beginAnew ends an agent that refuses its disk by a configuration of before, which it reads at its start only.
func (r *Reconciler) beginAnew(ctx context.Context, shard *shardState) error {
	if shard.ServerID != "" || shard.agent.GetReason() != shard.diskChanged() || !shard.pod.DeletionTimestamp.IsZero() {
		return nil
	}
	return apply.Delete(ctx, r.Client, shard.pod)
}
