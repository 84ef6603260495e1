package driver

import (
	"context"
	"slices"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// server is a server of a backend with its agent.
type server struct {
	catalog.Server

	agent agentv1.AgentClient
}

func (c *Controller) connect(s catalog.Server) (server, error) {
	agent, err := c.agents.Agent(s.Shard, s.Address)
	return server{Server: s, agent: agent}, err
}

func (c *Controller) server(ctx context.Context, shard volumeid.Shard) (server, error) {
	s, err := c.catalog.Server(ctx, shard)
	if err != nil {
		return server{}, err
	}
	return c.connect(s)
}

func (c *Controller) connectAll(list []catalog.Server) ([]server, error) {
	connected := make([]server, 0, len(list))
	for _, s := range list {
		one, err := c.connect(s)
		if err != nil {
			return nil, err
		}
		connected = append(connected, one)
	}
	return connected, nil
}

func (c *Controller) place(ctx context.Context, r createVolume, backend string) (server, error) {
	s, err := c.choose(ctx, r, backend)
	if err != nil {
		return server{}, err
	}
	return s, refuseNewVolume(ctx, s, r.name)
}

// choose finds the server for a new volume: its source's, for copies are made on the server; where a former call has
// put it, for a repeated call must find the volume wherever it lies; else the one with the most room.
func (c *Controller) choose(ctx context.Context, r createVolume, backend string) (server, error) {
	if source, ok := r.source(); ok {
		if source.Backend != backend {
			return server{}, invalid("the source lies on NFSBackend %q, but StorageProfile %q makes volumes on NFSBackend %q: "+
				"volumes are copied within a backend only", source.Backend, r.profile, backend)
		}
		return c.server(ctx, source)
	}
	list, err := c.catalog.Servers(ctx, backend)
	if err != nil {
		return server{}, err
	}
	servers, err := c.connectAll(list)
	if err != nil {
		return server{}, err
	}
	if len(servers) == 1 {
		return servers[0], nil
	}
	return roomiest(ctx, servers, r.name)
}

// roomiest asks all servers at once. One that cannot be asked might have the volume already.
func roomiest(ctx context.Context, servers []server, name string) (server, error) {
	found := make([]bool, len(servers))
	room := make([]int64, len(servers))
	group, groupCtx := errgroup.WithContext(ctx)
	for i, s := range servers {
		group.Go(func() error {
			_, err := s.agent.GetVolume(groupCtx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Name{Name: name}})
			if status.Code(err) != codes.NotFound {
				found[i] = err == nil
				return agentError(s.Shard, err)
			}
			capacity, err := s.agent.GetCapacity(groupCtx, &agentv1.GetCapacityRequest{})
			room[i] = capacity.GetAvailableBytes()
			return agentError(s.Shard, err)
		})
	}
	if err := group.Wait(); err != nil {
		return server{}, status.Errorf(codes.Unavailable, "look for volume %q: %s", name, status.Convert(err).Message())
	}
	best := -1
	for i, s := range servers {
		if found[i] {
			return s, nil
		}
		if s.Serving && (best < 0 || room[i] > room[best]) {
			best = i
		}
	}
	if best < 0 {
		return server{}, status.Errorf(codes.Unavailable, "no server of NFSBackend %q is ready", servers[0].Shard.Backend)
	}
	return servers[best], nil
}

// GetCapacity implements CSI. Servers that do not answer have nothing to offer now.
func (c *Controller) GetCapacity(ctx context.Context, req *csi.GetCapacityRequest) (*csi.GetCapacityResponse, error) {
	if err := checkParameters(req.GetParameters(), volumeParameters); err != nil {
		return nil, err
	}
	if caps := req.GetVolumeCapabilities(); len(caps) > 0 {
		if err := checkCapabilities(caps); err != nil {
			return &csi.GetCapacityResponse{}, nil //nolint:nilerr // of such volumes there is no room for any
		}
	}
	list, err := c.offered(ctx, req.GetParameters()[names.ParameterProfile])
	if err != nil {
		return nil, toStatus(err)
	}
	list = slices.DeleteFunc(list, func(s catalog.Server) bool { return s.Deleting })
	servers, err := c.connectAll(list)
	if err != nil {
		return nil, toStatus(err)
	}
	room := make([]int64, len(servers))
	var group errgroup.Group
	for i, s := range servers {
		group.Go(func() error {
			if capacity, err := s.agent.GetCapacity(ctx, &agentv1.GetCapacityRequest{}); err == nil {
				room[i] = max(capacity.GetAvailableBytes(), 0)
			}
			return nil
		})
	}
	_ = group.Wait()
	return capacityOf(room), nil
}

func (c *Controller) offered(ctx context.Context, profile string) ([]catalog.Server, error) {
	if profile == "" {
		return c.catalog.AllServers(ctx)
	}
	p, err := c.catalog.Profile(ctx, profile)
	if err != nil {
		return nil, err
	}
	return c.catalog.Servers(ctx, p.Spec.BackendRef.Name)
}

// capacityOf adds the servers' room up; a volume lies on one of them.
func capacityOf(room []int64) *csi.GetCapacityResponse {
	var sum, largest int64
	for _, bytes := range room {
		sum += bytes
		largest = max(largest, bytes)
	}
	return &csi.GetCapacityResponse{
		AvailableCapacity: sum,
		MaximumVolumeSize: wrapperspb.Int64(largest),
		MinimumVolumeSize: wrapperspb.Int64(smallestVolume),
	}
}
