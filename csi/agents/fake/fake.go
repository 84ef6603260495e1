// Package fake is an agent in memory, for tests of what talks to agents.
package fake

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
)

// Agent answers as the contract says, for one node.
type Agent struct {
	agentv1.UnimplementedAgentServer

	mu            sync.Mutex
	capacity      int64
	volumes       map[string]*agentv1.Volume
	halfMade      map[string]bool
	snapshots     map[string]*agentv1.Snapshot
	copying       bool
	grants        map[string]*agentv1.Grant
	announcements []*agentv1.Announcement
	calls         []string
	before        func(method string) error
	listener      *bufconn.Listener
	server        string
	dead          []string
	groups        map[string]uint32
}

// New starts an agent with a disk of the given size; stop ends it.
func New(capacity int64) (agent *Agent, stop func()) {
	a := &Agent{
		capacity: capacity,
		volumes:  map[string]*agentv1.Volume{}, snapshots: map[string]*agentv1.Snapshot{}, grants: map[string]*agentv1.Grant{},
		groups: map[string]uint32{},
	}
	return a, a.Serve()
}

// Serve starts it again after it was stopped, with all that it had.
func (a *Agent) Serve() (stop func()) {
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer(grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, h grpc.UnaryHandler) (any, error) {
		if err := a.begin(info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]); err != nil {
			return nil, err
		}
		return h(ctx, req)
	}))
	agentv1.RegisterAgentServer(server, a)
	a.mu.Lock()
	a.listener = listener
	a.mu.Unlock()
	go func() { _ = server.Serve(listener) }()
	return server.Stop
}

// Dial is the dialer of a pool that knows this agent only.
func (a *Agent) Dial(ctx context.Context, _ string) (net.Conn, error) {
	a.mu.Lock()
	listener := a.listener
	a.mu.Unlock()
	return listener.DialContext(ctx)
}

// Pool makes a pool of which each address is one of the given agents.
func Pool(byAddress map[string]*Agent) *agents.Pool {
	return agents.NewPool(noTLS{}, func(ctx context.Context, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		agent, ok := byAddress[host]
		if !ok {
			return nil, &net.AddrError{Err: "no agent there", Addr: address}
		}
		return agent.Dial(ctx, address)
	})
}

type noTLS struct{}

func (noTLS) ClientCredentials(string) credentials.TransportCredentials {
	return insecure.NewCredentials()
}

// Before has f called at the start of every unary call; its error is the call's.
func (a *Agent) Before(f func(method string) error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.before = f
}

// Calls lists the unary methods that were called, in order.
func (a *Agent) Calls() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.calls)
}

// Granted lists the volumes that are open, in order.
func (a *Agent) Granted() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Sorted(maps.Keys(a.grants))
}

// Grant is the grant of a volume, or nil.
func (a *Agent) Grant(id string) *agentv1.Grant {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.grants[id]
}

// Revoke ends the grant of a volume, of which its node is not told.
func (a *Agent) Revoke(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.grants, id)
}

// Volumes lists the volumes.
func (a *Agent) Volumes() []*agentv1.Volume {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.volumes))
}

// Announcements lists what was announced, in order.
func (a *Agent) Announcements() []*agentv1.Announcement {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.announcements)
}

func (a *Agent) begin(method string) error {
	a.mu.Lock()
	a.calls = append(a.calls, method)
	before := a.before
	a.mu.Unlock()
	if before == nil {
		return nil
	}
	return before(method)
}

func idOf(name string) string {
	sum := sha256.Sum256([]byte(name))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:16]
}

func (a *Agent) available() int64 {
	free := a.capacity
	for _, v := range a.volumes {
		free -= v.GetSpec().GetBytes()
	}
	return free
}

// CreateVolume implements the contract.
func (a *Agent) CreateVolume(_ context.Context, req *agentv1.CreateVolumeRequest) (*agentv1.Volume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := idOf(req.GetName())
	if v, ok := a.volumes[id]; ok {
		bytes := v.GetSpec().GetBytes()
		if bytes < req.GetSpec().GetBytes() || req.GetLimitBytes() > 0 && bytes > req.GetLimitBytes() ||
			v.GetSourceVolumeId() != req.GetSourceVolumeId() || v.GetSourceSnapshotId() != req.GetSourceSnapshotId() {
			return nil, status.Error(codes.AlreadyExists, "another volume has this name")
		}
		return v, nil
	}
	if id := req.GetSourceVolumeId(); id != "" && a.volumes[id] == nil {
		return nil, status.Error(codes.NotFound, "no source volume")
	}
	if id := req.GetSourceSnapshotId(); id != "" && a.snapshots[id] == nil {
		return nil, status.Error(codes.NotFound, "no source snapshot")
	}
	if req.GetSpec().GetBytes() > a.available() {
		return nil, status.Error(codes.ResourceExhausted, "disk is full")
	}
	v := &agentv1.Volume{
		Id: id, Name: req.GetName(), Spec: proto.CloneOf(req.GetSpec()), Created: timestamppb.Now(),
		SourceVolumeId: req.GetSourceVolumeId(), SourceSnapshotId: req.GetSourceSnapshotId(), Provisional: true,
	}
	a.volumes[id] = v
	return v, nil
}

// DeleteVolume implements the contract.
func (a *Agent) DeleteVolume(_ context.Context, req *agentv1.DeleteVolumeRequest) (*agentv1.DeleteVolumeResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.grants[req.GetId()] != nil {
		return nil, status.Error(codes.FailedPrecondition, "volume is in use on node n")
	}
	if v, ok := a.volumes[req.GetId()]; ok && req.GetProvisionalForSeconds() != 0 &&
		(!v.GetProvisional() || v.GetAskedSecondsAgo() < req.GetProvisionalForSeconds()) {
		return nil, status.Error(codes.FailedPrecondition, "volume is in use by the cluster")
	}
	delete(a.volumes, req.GetId())
	return &agentv1.DeleteVolumeResponse{}, nil
}

// ModifyVolume implements the contract.
func (a *Agent) ModifyVolume(_ context.Context, req *agentv1.ModifyVolumeRequest) (*agentv1.Volume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.volumes[req.GetId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	v = proto.CloneOf(v)
	set(&v.Spec.Squash, req.Squash)
	set(&v.Spec.AnonymousUid, req.AnonymousUid)
	set(&v.Spec.AnonymousGid, req.AnonymousGid)
	set(&v.Spec.OnDelete, req.OnDelete)
	set(&v.Spec.Inodes, req.Inodes)
	set(&v.Spec.MaxBytes, req.MaxBytes)
	a.volumes[req.GetId()] = v
	return v, nil
}

func set[T any](field *T, value *T) {
	if value != nil {
		*field = *value
	}
}

// ConfirmVolumes implements the contract.
func (a *Agent) ConfirmVolumes(_ context.Context, req *agentv1.ConfirmVolumesRequest) (*agentv1.ConfirmVolumesResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range req.GetIds() {
		a.change(id, func(v *agentv1.Volume) { v.Provisional, v.AskedSecondsAgo = false, 0 })
	}
	return &agentv1.ConfirmVolumesResponse{}, nil
}

// Age makes CreateVolume's last answer with a provisional volume older.
func (a *Agent) Age(id string, seconds int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.change(id, func(v *agentv1.Volume) { v.AskedSecondsAgo += seconds })
}

// change replaces a volume: answers that are being sent hold the former one.
func (a *Agent) change(id string, f func(*agentv1.Volume)) {
	if v, ok := a.volumes[id]; ok {
		v = proto.CloneOf(v)
		f(v)
		a.volumes[id] = v
	}
}

// SetHalfMade makes a volume one that is being made, or ends that.
func (a *Agent) SetHalfMade(id string, halfMade bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.halfMade == nil {
		a.halfMade = map[string]bool{}
	}
	a.halfMade[id] = halfMade
}

// ExpandVolume implements the contract.
func (a *Agent) ExpandVolume(_ context.Context, req *agentv1.ExpandVolumeRequest) (*agentv1.Volume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.volumes[req.GetId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	if limit := v.GetSpec().GetMaxBytes(); limit > 0 && req.GetBytes() > limit {
		return nil, status.Error(codes.OutOfRange, "over the profile's maximum")
	}
	v = proto.CloneOf(v)
	v.Spec.Bytes = max(v.GetSpec().GetBytes(), req.GetBytes())
	a.volumes[req.GetId()] = v
	return v, nil
}

// GetVolume implements the contract.
func (a *Agent) GetVolume(_ context.Context, req *agentv1.GetVolumeRequest) (*agentv1.Volume, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := req.GetId()
	if name := req.GetName(); name != "" {
		id = idOf(name)
	}
	if v, ok := a.volumes[id]; ok && (req.GetAnyState() || !a.halfMade[id]) {
		return v, nil
	}
	return nil, status.Error(codes.NotFound, "no such volume")
}

// ListVolumes implements the contract.
func (a *Agent) ListVolumes(_ context.Context, req *agentv1.ListVolumesRequest) (*agentv1.ListVolumesResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	all := slices.SortedFunc(maps.Values(a.volumes), func(x, y *agentv1.Volume) int { return strings.Compare(x.GetId(), y.GetId()) })
	all = slices.DeleteFunc(all, func(v *agentv1.Volume) bool {
		return a.halfMade[v.GetId()] || req.GetOnlyProvisional() && !v.GetProvisional()
	})
	page, next := page(all, (*agentv1.Volume).GetId, req.GetAfterId(), int(req.GetMaxEntries()))
	return &agentv1.ListVolumesResponse{Volumes: page, NextAfterId: next}, nil
}

func page[T any](all []T, id func(T) string, after string, most int) ([]T, string) {
	start := 0
	for start < len(all) && id(all[start]) <= after {
		start++
	}
	all = all[start:]
	if most > 0 && len(all) > most {
		return all[:most], id(all[most-1])
	}
	return all, ""
}

// GetCapacity implements the contract.
func (a *Agent) GetCapacity(context.Context, *agentv1.GetCapacityRequest) (*agentv1.Capacity, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	free := a.available()
	return &agentv1.Capacity{TotalBytes: a.capacity, AllocatedBytes: a.capacity - free, AvailableBytes: free}, nil
}

// CreateSnapshot implements the contract.
func (a *Agent) CreateSnapshot(_ context.Context, req *agentv1.CreateSnapshotRequest) (*agentv1.Snapshot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := idOf(req.GetName())
	if s, ok := a.snapshots[id]; ok {
		if s.GetSourceVolumeId() != req.GetSourceVolumeId() {
			return nil, status.Error(codes.AlreadyExists, "another snapshot has this name")
		}
		return a.copied(s)
	}
	v, ok := a.volumes[req.GetSourceVolumeId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	s := &agentv1.Snapshot{
		Id: id, Name: req.GetName(), SourceVolumeId: v.GetId(), Bytes: v.GetSpec().GetBytes(), Created: timestamppb.Now(),
	}
	a.snapshots[id] = s
	return a.copied(s)
}

func (a *Agent) copied(s *agentv1.Snapshot) (*agentv1.Snapshot, error) {
	if !s.GetReady() && a.copying {
		return nil, status.Error(codes.Aborted, "the snapshot is being made")
	}
	s.Ready = true
	return s, nil
}

// Copy says whether snapshots that are asked for remain unfinished for now.
func (a *Agent) Copy(copying bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.copying = copying
}

// DeleteSnapshot implements the contract.
func (a *Agent) DeleteSnapshot(_ context.Context, req *agentv1.DeleteSnapshotRequest) (*agentv1.DeleteSnapshotResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.snapshots, req.GetId())
	return &agentv1.DeleteSnapshotResponse{}, nil
}

// ListSnapshots implements the contract.
func (a *Agent) ListSnapshots(_ context.Context, req *agentv1.ListSnapshotsRequest) (*agentv1.ListSnapshotsResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var all []*agentv1.Snapshot
	for _, s := range a.snapshots {
		if (s.GetReady() || req.GetUnfinished()) && (req.GetId() == "" || req.GetId() == s.GetId()) && (req.GetSourceVolumeId() == "" || req.GetSourceVolumeId() == s.GetSourceVolumeId()) {
			all = append(all, s)
		}
	}
	slices.SortFunc(all, func(x, y *agentv1.Snapshot) int { return strings.Compare(x.GetId(), y.GetId()) })
	page, next := page(all, (*agentv1.Snapshot).GetId, req.GetAfterId(), int(req.GetMaxEntries()))
	return &agentv1.ListSnapshotsResponse{Snapshots: page, NextAfterId: next}, nil
}

// OpenAccess implements the contract.
func (a *Agent) OpenAccess(_ context.Context, req *agentv1.OpenAccessRequest) (*agentv1.OpenAccessResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	id := req.GetGrant().GetVolumeId()
	if a.volumes[id] == nil {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	a.change(id, func(v *agentv1.Volume) { v.Provisional, v.AskedSecondsAgo = false, 0 })
	a.grants[id] = req.GetGrant()
	lost := a.dead
	a.dead = nil
	return &agentv1.OpenAccessResponse{Path: "/" + id, MountOptions: []string{"resvport"}, Server: a.server, TakenFrom: lost}, nil
}

// Dead has the next OpenAccess take its volume from these nodes.
func (a *Agent) Dead(nodes ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.dead = nodes
}

// ServeFrom has mounts made from another server than the agent's.
func (a *Agent) ServeFrom(server string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.server = server
}

// SetGroup implements the contract.
func (a *Agent) SetGroup(_ context.Context, req *agentv1.SetGroupRequest) (*agentv1.SetGroupResponse, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if g := a.grants[req.GetVolumeId()]; g == nil || g.GetReadOnly() {
		return nil, status.Error(codes.FailedPrecondition, "not open for writing")
	}
	a.groups[req.GetVolumeId()] = req.GetGid()
	return &agentv1.SetGroupResponse{}, nil
}

// Group is the group that may read and write a volume; 0 is none.
func (a *Agent) Group(id string) uint32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.groups[id]
}

// Announce implements the contract.
func (a *Agent) Announce(stream grpc.BidiStreamingServer[agentv1.Announcement, agentv1.AnnouncementReply]) error {
	for {
		announcement, err := stream.Recv()
		if err != nil {
			return err
		}
		a.apply(announcement)
		if err := stream.Send(&agentv1.AnnouncementReply{Generation: announcement.GetGeneration()}); err != nil {
			return err
		}
	}
}

func (a *Agent) apply(announcement *agentv1.Announcement) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.announcements = append(a.announcements, announcement)
	maps.DeleteFunc(a.grants, func(_ string, g *agentv1.Grant) bool { return g.GetGeneration() < announcement.GetGeneration() })
	for _, g := range announcement.GetGrants() {
		if a.volumes[g.GetVolumeId()] != nil {
			a.grants[g.GetVolumeId()] = g
		}
	}
}

// GetUsage implements the contract.
func (a *Agent) GetUsage(_ context.Context, req *agentv1.GetUsageRequest) (*agentv1.Usage, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	v, ok := a.volumes[req.GetId()]
	if !ok {
		return nil, status.Error(codes.NotFound, "no such volume")
	}
	return &agentv1.Usage{UsedBytes: 4096, TotalBytes: v.GetSpec().GetBytes(), UsedInodes: 1, TotalInodes: 4096}, nil
}
