// Package service is the agent's gRPC interface: who may call what, requests checked and translated, errors turned into codes.
// What happens then is in packages engine and access.
package service

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

var (
	controllerOnly = []pki.Role{pki.RoleController}
	readers        = []pki.Role{pki.RoleController, pki.RoleManager}
	nodeOnly       = []pki.Role{pki.RoleNode}
)

// allowed says which roles may call a method. A method that is not here may be called by nobody; a test compares the table with
// the service's definition.
var allowed = map[string][]pki.Role{
	agentv1.Agent_CreateVolume_FullMethodName:   controllerOnly,
	agentv1.Agent_DeleteVolume_FullMethodName:   controllerOnly,
	agentv1.Agent_ExpandVolume_FullMethodName:   controllerOnly,
	agentv1.Agent_ModifyVolume_FullMethodName:   controllerOnly,
	agentv1.Agent_ConfirmVolumes_FullMethodName: controllerOnly,
	agentv1.Agent_GetVolume_FullMethodName:      readers,
	agentv1.Agent_ListVolumes_FullMethodName:    readers,
	agentv1.Agent_GetCapacity_FullMethodName:    readers,
	agentv1.Agent_CreateSnapshot_FullMethodName: controllerOnly,
	agentv1.Agent_DeleteSnapshot_FullMethodName: controllerOnly,
	agentv1.Agent_ListSnapshots_FullMethodName:  readers,
	agentv1.Agent_OpenAccess_FullMethodName:     nodeOnly,
	agentv1.Agent_Announce_FullMethodName:       nodeOnly,
	agentv1.Agent_SetGroup_FullMethodName:       nodeOnly,
	agentv1.Agent_GetUsage_FullMethodName:       {pki.RoleNode, pki.RoleController, pki.RoleManager},
	agentv1.Agent_SetNodeGone_FullMethodName:    {pki.RoleManager},
	agentv1.Agent_GetStatus_FullMethodName:      {pki.RoleManager},
}

type identify func(context.Context) (pki.Identity, error)

func (who identify) check(ctx context.Context, method string) error {
	id, err := who(ctx)
	if err != nil {
		return status.Error(codes.Unauthenticated, err.Error())
	}
	if !slices.Contains(allowed[method], id.Role) {
		return status.Errorf(codes.PermissionDenied, "%s must not call %s", id.Role, method)
	}
	return nil
}

// AuthorizeUnary refuses calls by roles that the method is not for.
func AuthorizeUnary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := identify(pki.Peer).check(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

// AuthorizeStream does the same for streams.
func AuthorizeStream(srv any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := identify(pki.Peer).check(stream.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, stream)
}
