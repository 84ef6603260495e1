package service

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Core is what the service works on. It is there as soon as the disk is.
type Core struct {
	Engine *engine.Engine
	Access *access.Book
	// Ended is closed when announcements are to begin anew; nil where they never are.
	Ended <-chan struct{}
	// Share is where nodes find the volumes, when that is not where the agent is.
	Share *Share
}

// Share is the share of an external server.
type Share struct {
	Server  string // DNS name or IP address
	Path    string // of the directory that holds the volumes, at the server
	Options []string
}

// Service answers the agent's calls.
type Service struct {
	agentv1.UnimplementedAgentServer
	core   atomic.Pointer[Core]
	status func(*Core) *agentv1.ServerStatus
}

// New makes a service that answers only GetStatus until Start. status is given nil until then.
func New(status func(*Core) *agentv1.ServerStatus) *Service { return &Service{status: status} }

// Start lets the service answer everything. From now on a node can be heard, so only now its silence begins to count.
func (s *Service) Start(c *Core) {
	c.Access.Answers()
	s.core.Store(c)
}

// Stop ends that again.
func (s *Service) Stop() { s.core.Store(nil) }

func (s *Service) ready() (*Core, error) {
	if c := s.core.Load(); c != nil {
		return c, nil
	}
	st := s.status(nil)
	return nil, status.Errorf(codes.Unavailable, "%s: %s", st.GetReason(), st.GetMessage())
}

// CreateVolume implements the service.
func (s *Service) CreateVolume(ctx context.Context, req *agentv1.CreateVolumeRequest) (*agentv1.Volume, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	spec, err := specFrom(req.GetSpec())
	if err != nil {
		return nil, toStatus(err)
	}
	v, err := c.Engine.Create(ctx, engine.CreateRequest{
		Name: req.GetName(), Spec: spec, LimitBytes: req.GetLimitBytes(),
		SourceVolume: req.GetSourceVolumeId(), SourceSnapshot: req.GetSourceSnapshotId(),
	})
	if err != nil {
		return nil, toStatus(err)
	}
	return c.volume(v), nil
}

// DeleteVolume implements the service.
func (s *Service) DeleteVolume(ctx context.Context, req *agentv1.DeleteVolumeRequest) (*agentv1.DeleteVolumeResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	if idle := req.GetProvisionalForSeconds(); idle != 0 {
		err = c.Engine.DeleteProvisional(ctx, req.GetId(), time.Duration(idle)*time.Second)
	} else {
		err = c.Engine.Delete(ctx, req.GetId())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &agentv1.DeleteVolumeResponse{}, nil
}

// ExpandVolume implements the service.
func (s *Service) ExpandVolume(_ context.Context, req *agentv1.ExpandVolumeRequest) (*agentv1.Volume, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	v, err := c.Engine.Expand(req.GetId(), req.GetBytes(), req.GetLimitBytes())
	if err != nil {
		return nil, toStatus(err)
	}
	return c.volume(v), nil
}

// ModifyVolume implements the service.
func (s *Service) ModifyVolume(ctx context.Context, req *agentv1.ModifyVolumeRequest) (*agentv1.Volume, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	change, err := changeFrom(req)
	if err != nil {
		return nil, toStatus(err)
	}
	v, err := c.Engine.Modify(ctx, req.GetId(), change)
	if err != nil {
		return nil, toStatus(fmt.Errorf("volume %q: %w", req.GetId(), err))
	}
	return c.volume(v), nil
}

// ConfirmVolumes implements the service.
func (s *Service) ConfirmVolumes(_ context.Context, req *agentv1.ConfirmVolumesRequest) (*agentv1.ConfirmVolumesResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	for _, id := range req.GetIds() {
		if err := c.Engine.Confirm(id); err != nil {
			return nil, toStatus(err)
		}
	}
	return &agentv1.ConfirmVolumesResponse{}, nil
}

// volume translates.
func (c *Core) volume(v store.Volume) *agentv1.Volume {
	out := volumeTo(v, c.Access.Holders(v.ID))
	if v.Provisional {
		out.Provisional, out.AskedSecondsAgo = true, int64(c.Engine.Now().Sub(v.Asked)/time.Second)
	}
	return out
}

// GetVolume implements the service.
func (s *Service) GetVolume(_ context.Context, req *agentv1.GetVolumeRequest) (*agentv1.Volume, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	id := req.GetId()
	if name, ok := req.GetKey().(*agentv1.GetVolumeRequest_Name); ok {
		id = store.ID(name.Name)
	}
	if v, ok := c.Engine.Store.Volume(id); ok && req.GetAnyState() {
		return c.volume(v), nil
	}
	v, err := c.Engine.Volume(id)
	if err != nil {
		return nil, toStatus(fmt.Errorf("volume %q: %w", id, err))
	}
	return c.volume(v), nil
}

// ListVolumes implements the service.
func (s *Service) ListVolumes(_ context.Context, req *agentv1.ListVolumesRequest) (*agentv1.ListVolumesResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	all := c.Engine.Volumes(req.GetAfterId())
	if req.GetOnlyProvisional() {
		all = slices.DeleteFunc(all, func(v store.Volume) bool { return !v.Provisional })
	}
	volumes, next := page(all, req.GetMaxEntries(), func(v store.Volume) string { return v.ID })
	out := &agentv1.ListVolumesResponse{NextAfterId: next}
	for _, v := range volumes {
		out.Volumes = append(out.Volumes, c.volume(v))
	}
	return out, nil
}

// GetCapacity implements the service.
func (s *Service) GetCapacity(context.Context, *agentv1.GetCapacityRequest) (*agentv1.Capacity, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	capacity, err := c.Engine.Capacity()
	if err != nil {
		return nil, toStatus(err)
	}
	return CapacityTo(capacity), nil
}

// GetUsage implements the service.
func (s *Service) GetUsage(_ context.Context, req *agentv1.GetUsageRequest) (*agentv1.Usage, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	q, err := c.Engine.Usage(req.GetId())
	if err != nil {
		return nil, toStatus(fmt.Errorf("volume %q: %w", req.GetId(), err))
	}
	return &agentv1.Usage{
		UsedBytes: q.UsedBytes, TotalBytes: q.LimitBytes, UsedInodes: q.UsedInodes, TotalInodes: q.LimitInodes,
	}, nil
}

// GetStatus implements the service.
func (s *Service) GetStatus(context.Context, *agentv1.GetStatusRequest) (*agentv1.ServerStatus, error) {
	return s.status(s.core.Load()), nil
}
