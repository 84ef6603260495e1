package driver

import (
	"context"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/keylock"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// NodeAgents finds agents as a node does; agents.Node is one.
type NodeAgents interface {
	Connect(ctx context.Context, shard volumeid.Shard) (agents.Connection, error)
	Confirm(shard volumeid.Shard, address string) error
	Silent(shard volumeid.Shard) time.Duration
	Resolve(ctx context.Context, host string) (string, error)
}

// Announcer tells a shard's agent what this node has, in its own time; announce.Announcer is one.
type Announcer interface {
	Changed(shard volumeid.Shard)
}

// NodeConfig is what a Node works with.
type NodeConfig struct {
	Name      string // of the Kubernetes node
	Mounter   mount.Mounter
	Agents    NodeAgents
	State     *nodestate.Store
	Announcer Announcer
	// Client says how this node can appear to a server.
	Client func() (*agentv1.Client, error)
	Events Events
	// BackendGone reports whether an NFSBackend certainly does not exist; nil knows of none.
	BackendGone func(ctx context.Context, backend string) bool
	// Published is the address of a server as its NFSBackend has it, or empty; nil knows of none.
	Published func(ctx context.Context, shard volumeid.Shard) string
	// GiveUpAfter is how long a server may be away before an unmount that waits for it is forced; 0 is ten minutes.
	GiveUpAfter time.Duration
}

// Node is the CSI Node service.
type Node struct {
	csi.UnimplementedNodeServer

	NodeConfig

	locks keylock.Set
	// told are the conflicts of mount options that were told.
	told keylock.Set
	// looks are the shards of which a file system is being asked how full it is: of a dead one the question hangs.
	looks keylock.Set
}

// NewNode makes a Node.
func NewNode(config NodeConfig) *Node {
	if config.GiveUpAfter == 0 {
		config.GiveUpAfter = giveUpAfter
	}
	return &Node{NodeConfig: config}
}

var nodeCapabilities = []csi.NodeServiceCapability_RPC_Type{
	csi.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME,
	csi.NodeServiceCapability_RPC_GET_VOLUME_STATS,
	csi.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER,
	csi.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP,
}

// NodeGetCapabilities implements CSI.
func (*Node) NodeGetCapabilities(context.Context, *csi.NodeGetCapabilitiesRequest) (*csi.NodeGetCapabilitiesResponse, error) {
	resp := &csi.NodeGetCapabilitiesResponse{}
	for _, c := range nodeCapabilities {
		resp.Capabilities = append(resp.Capabilities, &csi.NodeServiceCapability{
			Type: &csi.NodeServiceCapability_Rpc{Rpc: &csi.NodeServiceCapability_RPC{Type: c}},
		})
	}
	return resp, nil
}

// NodeGetInfo implements CSI.
func (n *Node) NodeGetInfo(context.Context, *csi.NodeGetInfoRequest) (*csi.NodeGetInfoResponse, error) {
	return &csi.NodeGetInfoResponse{NodeId: n.Name}, nil
}

// NodeGetVolumeStats implements CSI. The numbers come from the server's quota; the file system is asked only when the
// agent does not answer. Nothing here waits for the volume without a deadline.
func (n *Node) NodeGetVolumeStats(ctx context.Context, req *csi.NodeGetVolumeStatsRequest) (*csi.NodeGetVolumeStatsResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	if req.GetVolumePath() == "" {
		return nil, invalid("volume_path is missing")
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	mounts, err := n.Mounter.Mounts()
	if err != nil {
		return nil, toStatus(err)
	}
	if m, ok := mount.At(mounts, req.GetVolumePath()); !ok || !n.isVolume(m, v) {
		return nil, status.Errorf(codes.NotFound, "volume %s is not mounted at %s", v, req.GetVolumePath())
	}
	usage, err := n.agentUsage(ctx, v)
	if err != nil {
		if status.Code(err) == codes.NotFound && !isExport(v) {
			return nil, status.Errorf(codes.NotFound, "volume %s does not exist any more: %v", v, err)
		}
		// One question a server: where it is dead, each holds a process for seconds. An agent that does not know what volumes of an external
		// server take says so only while that server answers.
		look := v.Shard.String()
		if status.Code(err) == codes.FailedPrecondition {
			look = v.String()
		}
		if !n.looks.TryAcquire(look) {
			return nil, status.Errorf(codes.Unavailable, "%v; another call is asking the file system", err)
		}
		defer n.looks.Release(look)
		logr.FromContextOrDiscard(ctx).V(1).Info("Asking the file system instead of the agent", "reason", err.Error())
		if usage, err = n.filesystemUsage(ctx, req.GetVolumePath()); err != nil {
			return nil, toStatus(err)
		}
	}
	return &csi.NodeGetVolumeStatsResponse{Usage: []*csi.VolumeUsage{
		{Unit: csi.VolumeUsage_BYTES, Total: usage.TotalBytes, Used: usage.UsedBytes, Available: usage.AvailableBytes},
		{Unit: csi.VolumeUsage_INODES, Total: usage.TotalInodes, Used: usage.UsedInodes, Available: usage.AvailableInodes},
	}}, nil
}

func (n *Node) agentUsage(ctx context.Context, v volumeid.Volume) (mount.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	agent, err := n.Agents.Connect(ctx, v.Shard)
	if err != nil {
		return mount.Usage{}, status.Error(codes.Unavailable, err.Error())
	}
	u, err := agent.Client.GetUsage(ctx, &agentv1.GetUsageRequest{Id: v.ID})
	if err != nil {
		return mount.Usage{}, agentError(v.Shard, err)
	}
	return mount.Usage{
		TotalBytes: u.GetTotalBytes(), UsedBytes: u.GetUsedBytes(), AvailableBytes: max(0, u.GetTotalBytes()-u.GetUsedBytes()),
		TotalInodes: u.GetTotalInodes(), UsedInodes: u.GetUsedInodes(), AvailableInodes: max(0, u.GetTotalInodes()-u.GetUsedInodes()),
	}, nil
}

func (n *Node) filesystemUsage(ctx context.Context, path string) (mount.Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	return n.Mounter.Usage(ctx, path)
}

// isExport reports whether a handle is a static export's: volumes have no hyphen in their ids.
func isExport(v volumeid.Volume) bool { return strings.HasPrefix(v.ID, "e-") }
