package driver

import (
	"context"
	"strconv"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// groupTimeout is how long an agent may take to give a volume's files to a group, before it is asked again.
const groupTimeout = 20 * time.Second

// parseGroup reads which group a pod's fsGroup wants the volume to be shared with. Nothing is changed for those who only
// read, as a kubelet does not, nor in a static export, whose files are its owner's.
func parseGroup(c *csi.VolumeCapability, v volumeid.Volume, readOnly bool) (*uint32, error) {
	text := c.GetMount().GetVolumeMountGroup()
	if text == "" {
		return nil, nil //nolint:nilnil // no group is a valid answer
	}
	gid, err := strconv.ParseUint(text, 10, 32)
	if err != nil || gid == 1<<32-1 { // chown(2) takes that for "as it is"
		return nil, invalid("volume_mount_group %.32q is not the number of a group", text)
	}
	if readOnly || isExport(v) {
		return nil, nil //nolint:nilnil // no group is a valid answer
	}
	group := uint32(gid)
	return &group, nil
}

// setGroup has the server give the volume's files to a group: through NFS that takes ten times as long, and cannot be
// done at all where root is squashed.
func setGroup(ctx context.Context, agent agents.Connection, v volumeid.Volume, gid uint32) error {
	ctx, cancel := context.WithTimeout(ctx, groupTimeout)
	defer cancel()
	_, err := agent.Client.SetGroup(ctx, &agentv1.SetGroupRequest{VolumeId: v.ID, Gid: gid})
	return agentError(v.Shard, err)
}

// shareWithGroup is for a pod whose group is not the one with which the volume was staged.
func (n *Node) shareWithGroup(ctx context.Context, p publish) error {
	if p.group == nil {
		return nil
	}
	handle := p.volume.String()
	if known, ok := n.State.Get(handle); ok && known.Group != nil && *known.Group == *p.group {
		return nil
	}
	agent, err := n.Agents.Connect(ctx, p.volume.Shard)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	if err := setGroup(ctx, agent, p.volume, *p.group); err != nil {
		return err
	}
	return n.State.Update(handle, func(v *nodestate.Volume) { v.Group = p.group })
}
