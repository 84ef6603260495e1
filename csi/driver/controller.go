package driver

import (
	"context"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/keylock"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// Catalog is what the controller reads of the cluster; catalog.Catalog is one.
type Catalog interface {
	Profile(ctx context.Context, name string) (*v1alpha1.StorageProfile, error)
	Servers(ctx context.Context, profile *v1alpha1.StorageProfile) ([]catalog.Server, error)
	AllServers(ctx context.Context) ([]catalog.Server, error)
	Server(ctx context.Context, shard volumeid.Shard) (catalog.Server, error)
	Export(ctx context.Context, shard volumeid.Shard, name string) (*v1alpha1.StaticExport, error)
	NamespaceAllowed(ctx context.Context, profile *v1alpha1.StorageProfile, namespace string) (bool, error)
}

// Agents connects to agents; agents.Pool does.
type Agents interface {
	Agent(shard volumeid.Shard, address string) (agentv1.AgentClient, error)
}

const (
	// A node tells the agent that it has unmounted a volume a moment after it has told the kubelet, and the
	// kubelet's news lead to the volume's deletion at once. These are for that moment.
	inUseRetries = 20
	inUsePause   = 100 * time.Millisecond
)

// Controller is the CSI Controller service. It keeps nothing: what it knows is in custom resources and with agents.
type Controller struct {
	csi.UnimplementedControllerServer

	catalog Catalog
	agents  Agents
	// An early answer to what would wait at the agent, whose locks are the ones that count: the sidecars of a
	// volume may be connected to another replica.
	locks keylock.Set
}

// NewController makes a Controller.
func NewController(catalog Catalog, agents Agents) *Controller {
	return &Controller{catalog: catalog, agents: agents}
}

var controllerCapabilities = []csi.ControllerServiceCapability_RPC_Type{
	csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
	csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
	csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
	csi.ControllerServiceCapability_RPC_GET_CAPACITY,
	csi.ControllerServiceCapability_RPC_LIST_VOLUMES,
	csi.ControllerServiceCapability_RPC_GET_VOLUME,
	csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
	csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	csi.ControllerServiceCapability_RPC_GET_SNAPSHOT,
	csi.ControllerServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	csi.ControllerServiceCapability_RPC_MODIFY_VOLUME,
}

// ControllerGetCapabilities implements CSI.
func (*Controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	resp := &csi.ControllerGetCapabilitiesResponse{}
	for _, c := range controllerCapabilities {
		resp.Capabilities = append(resp.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: c}},
		})
	}
	return resp, nil
}

// CreateVolume implements CSI.
func (c *Controller) CreateVolume(ctx context.Context, req *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	r, err := parseCreateVolume(req)
	if err != nil {
		return nil, toStatus(err)
	}
	key := "name " + r.name
	if !c.locks.TryAcquire(key) {
		return nil, busy("volume " + r.name)
	}
	defer c.locks.Release(key)
	shard, v, err := c.create(ctx, r)
	if err != nil {
		return nil, toStatus(err)
	}
	// No volume context: the handle says all, so a PersistentVolume outlives a move of the operator.
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId:      volumeid.Volume{Shard: shard, ID: v.GetId()}.String(),
		CapacityBytes: v.GetSpec().GetBytes(),
		ContentSource: req.GetVolumeContentSource(),
	}}, nil
}

func (c *Controller) create(ctx context.Context, r createVolume) (volumeid.Shard, *agentv1.Volume, error) {
	profile, err := c.catalog.Profile(ctx, r.profile)
	if err != nil {
		return volumeid.Shard{}, nil, err
	}
	spec, err := r.volumeSpec(profile)
	if err != nil {
		return volumeid.Shard{}, nil, err
	}
	s, err := c.place(ctx, r, profile)
	if err != nil {
		return volumeid.Shard{}, nil, err
	}
	request := &agentv1.CreateVolumeRequest{Name: r.name, Spec: spec, LimitBytes: r.limit}
	if r.fromVolume != nil {
		request.SourceVolumeId = r.fromVolume.ID
	}
	if r.fromSnapshot != nil {
		request.SourceSnapshotId = r.fromSnapshot.ID
	}
	v, err := s.agent.CreateVolume(ctx, request)
	return s.Shard, v, agentError(s.Shard, err)
}

// DeleteVolume implements CSI.
func (c *Controller) DeleteVolume(ctx context.Context, req *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return &csi.DeleteVolumeResponse{}, nil // CSI: what cannot exist is deleted
	}
	if _, ok := v.Export(); ok {
		return nil, status.Errorf(codes.FailedPrecondition, "%s is a static export, which is not deleted with a PersistentVolume: set "+
			"persistentVolumeReclaimPolicy of the PersistentVolume to Retain", v)
	}
	release, s, err := c.open(ctx, v)
	if err != nil {
		return nil, toStatus(err)
	}
	defer release()
	for i := 0; ; i++ {
		_, err = s.agent.DeleteVolume(ctx, &agentv1.DeleteVolumeRequest{Id: v.ID})
		if status.Code(err) != codes.FailedPrecondition || i == inUseRetries || !pause(ctx, inUsePause) {
			break
		}
	}
	if err != nil {
		return nil, toStatus(agentError(v.Shard, err))
	}
	return &csi.DeleteVolumeResponse{}, nil
}

// ValidateVolumeCapabilities implements CSI.
func (c *Controller) ValidateVolumeCapabilities(ctx context.Context, req *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	if len(req.GetVolumeCapabilities()) == 0 {
		return nil, invalid("volume capabilities are missing")
	}
	if _, err := c.volume(ctx, req.GetVolumeId()); err != nil {
		return nil, toStatus(err)
	}
	if err := checkCapabilities(req.GetVolumeCapabilities()); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(toStatus(err)).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: req.GetVolumeContext(), VolumeCapabilities: req.GetVolumeCapabilities(), Parameters: req.GetParameters(),
	}}, nil
}

// ControllerGetVolume implements CSI.
func (c *Controller) ControllerGetVolume(ctx context.Context, req *csi.ControllerGetVolumeRequest) (*csi.ControllerGetVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	v, err := c.volume(ctx, req.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	return &csi.ControllerGetVolumeResponse{Volume: v, Status: &csi.ControllerGetVolumeResponse_VolumeStatus{}}, nil
}

// volume finds a volume or static export, and says what it was found to be.
func (c *Controller) volume(ctx context.Context, handle string) (*csi.Volume, error) {
	id, err := volumeid.ParseVolume(handle)
	if err != nil {
		return nil, err
	}
	found := &csi.Volume{VolumeId: handle}
	if name, ok := id.Export(); ok {
		e, err := c.catalog.Export(ctx, id.Shard, name)
		if err != nil {
			return nil, err
		}
		if e == nil {
			return nil, status.Errorf(codes.NotFound, "no export %q at shard %d in spec.server.exports of NFSBackend %q", name, id.Shard.Number, id.Shard.Backend)
		}
		found.CapacityBytes = e.Size.Value()
		return found, nil
	}
	s, err := c.server(ctx, id.Shard)
	if err != nil {
		return nil, err
	}
	v, err := s.agent.GetVolume(ctx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Id{Id: id.ID}})
	found.CapacityBytes = v.GetSpec().GetBytes()
	return found, agentError(id.Shard, err)
}

// open takes a volume's lock and finds its server.
func (c *Controller) open(ctx context.Context, v volumeid.Volume) (release func(), s server, err error) {
	key := v.String()
	if !c.locks.TryAcquire(key) {
		return nil, server{}, busy("volume " + key)
	}
	if s, err = c.server(ctx, v.Shard); err != nil {
		c.locks.Release(key)
		return nil, server{}, err
	}
	return func() { c.locks.Release(key) }, s, nil
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
