package service

import (
	"context"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// SetGroup implements the service. A node can only change what it could change through a mount of its own.
func (s *Service) SetGroup(ctx context.Context, req *agentv1.SetGroupRequest) (*agentv1.SetGroupResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	if !c.Access.Writes(who.Node, req.GetVolumeId()) {
		return nil, status.Errorf(codes.FailedPrecondition, "node %q does not have volume %q open for writing", who.Node, req.GetVolumeId())
	}
	if err := c.Engine.SetGroup(ctx, req.GetVolumeId(), req.GetGid()); err != nil {
		return nil, toStatus(fmt.Errorf("volume %q: %w", req.GetVolumeId(), err))
	}
	return &agentv1.SetGroupResponse{}, nil
}
