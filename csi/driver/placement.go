package driver

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// patience is how long is waited for servers that hardly have the volume that is looked for: those that a profile does not
// choose now, and may have chosen before, and those that are away.
const patience = time.Second

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

// place finds the server for a new volume: where a former call has put it, for a repeated call must find the volume
// wherever it lies, whatever the profile says now; its source's, for copies are made on the server; else the one with
// the most room.
func (c *Controller) place(ctx context.Context, r createVolume, p *v1alpha1.StorageProfile) (server, error) {
	chosen, err := c.catalog.Servers(ctx, p)
	if err != nil {
		return server{}, err
	}
	if source, ok := r.source(); ok {
		return c.placeCopy(ctx, r, p, source, chosen)
	}
	servers, err := c.connectAll(chosen)
	if err != nil {
		return server{}, err
	}
	s, v, err := c.find(ctx, r.name, servers)
	if err != nil {
		return server{}, err
	}
	if v != nil {
		return again(ctx, s, r, v)
	}
	if err := c.admit(ctx, r, p); err != nil {
		return server{}, err
	}
	return roomiest(ctx, servers, p.Name)
}

// placeCopy finds the server of a copy. It is its source's.
func (c *Controller) placeCopy(ctx context.Context, r createVolume, p *v1alpha1.StorageProfile, source volumeid.Shard, chosen []catalog.Server) (server, error) {
	s, err := c.server(ctx, source)
	if err != nil {
		return server{}, err
	}
	v, err := volumeNamed(ctx, s, r.name)
	if err != nil {
		return server{}, err
	}
	if v != nil {
		return again(ctx, s, r, v)
	}
	if !slices.ContainsFunc(chosen, func(o catalog.Server) bool { return o.Shard.Backend == source.Backend }) {
		return server{}, invalid("the source lies on NFSBackend %q, but StorageProfile %q makes volumes on NFSBackend %s: "+
			"volumes are copied within a backend only", source.Backend, p.Name, backendsOf(chosen))
	}
	if s.Deleting {
		return server{}, beingDeleted(s)
	}
	return s, c.admit(ctx, r, p)
}

func backendsOf(list []catalog.Server) string {
	var all []string
	for _, s := range list {
		all = append(all, `"`+s.Shard.Backend+`"`)
	}
	slices.Sort(all)
	return join(slices.Compact(all))
}

// volumeNamed is a server's volume of that name, be it half-made; nil if there is none.
func volumeNamed(ctx context.Context, s server, name string) (*agentv1.Volume, error) {
	v, err := s.agent.GetVolume(ctx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Name{Name: name}, AnyState: true})
	if status.Code(err) == codes.NotFound {
		return nil, nil
	}
	return v, agentError(s.Shard, err)
}

// again answers a repeated call with the server that has the volume.
func again(ctx context.Context, s server, r createVolume, v *agentv1.Volume) (server, error) {
	if profile := v.GetSpec().GetProfile(); profile != r.profile {
		return server{}, status.Errorf(codes.AlreadyExists, "volume %q is there, and was made from StorageProfile %q", r.name, profile)
	}
	return s, refuseNewVolume(ctx, s, r.name)
}

// find looks for a volume on all servers at once. One that the profile chooses and that should answer but does not might have
// it: then a volume that no other has is not known not to exist. The servers that are not chosen, for profiles are edited, and
// those that the manager knows to be away are asked too, but hold nothing up: what one of them could not say becomes a twin or
// an orphan that nobody ever used, and the sweep finds it.
func (c *Controller) find(ctx context.Context, name string, chosen []server) (server, *agentv1.Volume, error) {
	all, err := c.catalog.AllServers(ctx)
	if err != nil {
		return server{}, nil, err
	}
	strangers, err := c.connectAll(slices.DeleteFunc(all, func(s catalog.Server) bool {
		return !s.Serving || slices.ContainsFunc(chosen, func(o server) bool { return o.Shard == s.Shard })
	}))
	if err != nil {
		return server{}, nil, err
	}
	servers := slices.Concat(chosen, strangers)
	found, failed := make([]*agentv1.Volume, len(servers)), make([]error, len(servers))
	var group errgroup.Group
	for i, s := range servers {
		group.Go(func() error {
			ctx, cancel := ctx, func() {}
			if i >= len(chosen) || !s.Serving {
				ctx, cancel = context.WithTimeout(ctx, patience)
			}
			defer cancel()
			found[i], failed[i] = volumeNamed(ctx, s, name)
			return nil
		})
	}
	_ = group.Wait()
	for i, v := range found {
		if v != nil {
			return servers[i], v, nil
		}
	}
	for i, err := range failed[:len(chosen)] {
		if err != nil && servers[i].Serving {
			return server{}, nil, status.Errorf(codes.Unavailable, "look for volume %q, which may lie there: %s", name, status.Convert(err).Message())
		}
	}
	return server{}, nil, nil
}

// roomiest is the server with the most room of those that take new volumes.
func roomiest(ctx context.Context, servers []server, profile string) (server, error) {
	takers := slices.DeleteFunc(slices.Clone(servers), func(s server) bool { return s.Deleting || !s.Serving })
	switch {
	case len(takers) == 0 && slices.ContainsFunc(servers, func(s server) bool { return s.Deleting }):
		i := slices.IndexFunc(servers, func(s server) bool { return s.Deleting })
		return server{}, beingDeleted(servers[i])
	case len(takers) == 0:
		return server{}, status.Errorf(codes.Unavailable, "no server of StorageProfile %q is ready (NFSBackend %q)", profile, servers[0].Shard.Backend)
	case len(takers) == 1:
		return takers[0], nil
	}
	room, err := rooms(ctx, takers)
	if err != nil {
		return server{}, err
	}
	best := 0
	for i := range room {
		if room[i] > room[best] {
			best = i
		}
	}
	return takers[best], nil
}

// rooms asks all servers for their room at once. One that does not answer has none now; when all do not, the error is one
// of theirs.
func rooms(ctx context.Context, servers []server) ([]int64, error) {
	room, failed := make([]int64, len(servers)), make([]error, len(servers))
	var group errgroup.Group
	for i, s := range servers {
		group.Go(func() error {
			capacity, err := s.agent.GetCapacity(ctx, &agentv1.GetCapacityRequest{})
			room[i], failed[i] = max(capacity.GetAvailableBytes(), 0), agentError(s.Shard, err)
			return nil
		})
	}
	_ = group.Wait()
	for i, err := range failed {
		if err != nil {
			room[i] = -1
		}
	}
	if len(servers) > 0 && !slices.Contains(failed, nil) {
		return nil, failed[0]
	}
	return room, nil
}
