package driver

import (
	"context"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// A backend that is being deleted takes nothing new, or its deletion would never end, or end under the new volume.
// What a former call has made is still answered with: unless the sidecars learn of it, they cannot delete it.

// refuseNewVolume lets a backend that is being deleted answer only with a volume that it has.
func refuseNewVolume(ctx context.Context, s server, name string) error {
	if !s.Deleting {
		return nil
	}
	_, err := s.agent.GetVolume(ctx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Name{Name: name}})
	if status.Code(err) == codes.NotFound {
		return beingDeleted(s)
	}
	return agentError(s.Shard, err)
}

func beingDeleted(s server) error {
	return status.Errorf(codes.Unavailable, "NFSBackend %q is being deleted", s.Shard.Backend)
}
