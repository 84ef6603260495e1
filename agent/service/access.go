package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"path"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// An announcement is answered when it is durable; how long it may wait for a running server to know it, too.
const announceSync = 10 * time.Second

// caller takes the node's name from its certificate and its address from the connection, and neither from the request.
func caller(ctx context.Context) (access.Caller, error) {
	id, err := pki.Peer(ctx)
	if err != nil {
		return access.Caller{}, status.Error(codes.Unauthenticated, err.Error())
	}
	p, ok := peer.FromContext(ctx)
	if !ok {
		return access.Caller{}, status.Error(codes.Internal, "connection has no address")
	}
	address, err := netip.ParseAddrPort(p.Addr.String())
	if err != nil {
		return access.Caller{}, status.Error(codes.Internal, fmt.Sprintf("address of the connection: %v", err))
	}
	return access.Caller{Node: id.Name, Peer: address}, nil
}

// OpenAccess implements the service.
func (s *Service) OpenAccess(ctx context.Context, req *agentv1.OpenAccessRequest) (*agentv1.OpenAccessResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	who, err := caller(ctx)
	if err != nil {
		return nil, err
	}
	id := req.GetGrant().GetVolumeId()
	client := access.Client{BootID: req.GetClient().GetBootId(), Addresses: req.GetClient().GetAddresses()}
	comeBack := c.Engine.Reattach
	if !req.GetReattach() {
		comeBack = func(_ context.Context, id string) error { return c.Engine.CheckKept(id) }
	}
	if err := comeBack(ctx, id); err != nil {
		return nil, toStatus(err)
	}
	// A volume that was staged once is never swept.
	if err := c.Engine.Confirm(id); err != nil {
		return nil, toStatus(err)
	}
	opened, err := c.Access.Open(who, client, id, grantFrom(req.GetGrant()))
	if err != nil {
		// Nodes that have lost their grants must not go on using them.
		if sync := c.Engine.SyncExports(ctx, opened.Changed...); sync != nil {
			c.Engine.Log.V(1).Info("Grants are revoked, the NFS server will know later", "volume", id, "error", sync.Error())
		}
		return nil, toStatus(err)
	}
	// The volume itself in any case: an earlier call may have been cut off after its grant was written.
	if err := c.Engine.SyncExports(ctx, append(opened.Changed, id)...); err != nil {
		return nil, toStatus(err)
	}
	answer := c.location(id, who)
	answer.TakenFrom = opened.TakenFrom
	return answer, nil
}

// location says what a node is to mount.
func (c *Core) location(id string, who access.Caller) *agentv1.OpenAccessResponse {
	if c.Share != nil {
		return &agentv1.OpenAccessResponse{Server: c.Share.Server, Path: path.Join(c.Share.Path, id), MountOptions: c.Share.Options}
	}
	option := "noresvport"
	if who.Privileged() {
		option = "resvport"
	}
	return &agentv1.OpenAccessResponse{Path: "/" + id, MountOptions: []string{option}}
}

// Announce implements the service.
func (s *Service) Announce(stream grpc.BidiStreamingServer[agentv1.Announcement, agentv1.AnnouncementReply]) error {
	who, err := caller(stream.Context())
	if err != nil {
		return err
	}
	var disconnected func()
	defer func() {
		if disconnected != nil {
			disconnected()
		}
	}()
	var first *Core
	for {
		a, err := s.receive(stream, first)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c, err := s.ready()
		if err != nil {
			return err // the node connects again
		}
		if err := announce(stream.Context(), c, who, a); err != nil {
			return toStatus(err)
		}
		if disconnected == nil {
			first, disconnected = c, c.Access.Connected(who.Node)
		}
		if err := stream.Send(&agentv1.AnnouncementReply{Generation: a.GetGeneration()}); err != nil {
			return err
		}
	}
}

// receive waits for the next announcement, or until the core that knows of this stream has ended.
func (s *Service) receive(stream grpc.BidiStreamingServer[agentv1.Announcement, agentv1.AnnouncementReply], c *Core) (*agentv1.Announcement, error) {
	if c == nil || c.Ended == nil {
		return stream.Recv()
	}
	type result struct {
		a   *agentv1.Announcement
		err error
	}
	received := make(chan result, 1)
	go func() { // ends with the stream
		a, err := stream.Recv()
		received <- result{a, err}
	}()
	select {
	case r := <-received:
		return r.a, r.err
	case <-c.Ended:
		return nil, status.Error(codes.Unavailable, "the server's disk or share was given up, and announcements begin anew")
	}
}

func announce(ctx context.Context, c *Core, who access.Caller, a *agentv1.Announcement) error {
	grants := make(map[string]store.Grant, len(a.GetGrants()))
	for _, g := range a.GetGrants() {
		grants[g.GetVolumeId()] = grantFrom(g)
	}
	changed, err := c.Access.Announce(who, access.Announcement{
		Generation: a.GetGeneration(),
		Client:     access.Client{BootID: a.GetClient().GetBootId(), Addresses: a.GetClient().GetAddresses()},
		Grants:     grants,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, announceSync)
	defer cancel()
	if err := c.Engine.SyncExports(ctx, changed...); err != nil {
		c.Engine.Log.V(1).Info("Announcement is recorded, the NFS server will know later", "node", who.Node, "error", err.Error())
	}
	return nil
}

// SetNodeGone implements the service.
func (s *Service) SetNodeGone(ctx context.Context, req *agentv1.SetNodeGoneRequest) (*agentv1.SetNodeGoneResponse, error) {
	c, err := s.ready()
	if err != nil {
		return nil, err
	}
	var changed []string
	switch {
	case req.GetEndedBootId() == "":
		changed, err = c.Access.SetGone(req.GetNode(), req.GetGone(), req.GetFenced())
	case req.GetGone():
		return nil, status.Error(codes.InvalidArgument, "a node whose boot is over is not gone: set one of gone and ended_boot_id")
	default:
		changed, err = c.Access.EndBoot(req.GetNode(), req.GetEndedBootId())
	}
	if err != nil {
		return nil, toStatus(err)
	}
	if err := c.Engine.SyncExports(ctx, changed...); err != nil {
		return nil, toStatus(err)
	}
	return &agentv1.SetNodeGoneResponse{}, nil
}
