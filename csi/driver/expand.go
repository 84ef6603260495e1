package driver

import (
	"context"

	"github.com/container-storage-interface/spec/lib/go/csi"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// ControllerExpandVolume implements CSI. The server's quota is the size: nothing is left to do on the nodes.
func (c *Controller) ControllerExpandVolume(ctx context.Context, req *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	if req.GetCapacityRange() == nil {
		return nil, invalid("capacity_range is missing")
	}
	required, limit, err := parseRange(req.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	if _, ok := v.Export(); ok {
		return nil, invalid("%s is a static export: its size is in spec.server.exports of NFSBackend %q", v, v.Shard.Backend)
	}
	release, s, err := c.open(ctx, v)
	if err != nil {
		return nil, toStatus(err)
	}
	defer release()
	if err := c.admitGrowth(ctx, s, v.ID, required); err != nil {
		return nil, toStatus(err)
	}
	expanded, err := s.agent.ExpandVolume(ctx, &agentv1.ExpandVolumeRequest{Id: v.ID, Bytes: required, LimitBytes: limit})
	if err != nil {
		return nil, toStatus(agentError(v.Shard, err))
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: expanded.GetSpec().GetBytes(), NodeExpansionRequired: false}, nil
}

// admitGrowth checks a larger size against the profile as it is now, and against the one that the volume was made from,
// which the agent knows, where there is none any more. What has the size already may repeat its call.
func (c *Controller) admitGrowth(ctx context.Context, s server, id string, bytes int64) error {
	v, err := s.agent.GetVolume(ctx, &agentv1.GetVolumeRequest{Key: &agentv1.GetVolumeRequest_Id{Id: id}})
	if err != nil {
		return agentError(s.Shard, err)
	}
	if bytes <= v.GetSpec().GetBytes() {
		return nil
	}
	p, err := c.profileOf(ctx, v)
	if err != nil || p == nil {
		return err
	}
	most := int64(0)
	if p.Spec.MaxVolumeSize != nil {
		most = p.Spec.MaxVolumeSize.Value()
	}
	if most > 0 && bytes > most {
		return checkSize(bytes, p)
	}
	if most == v.GetSpec().GetMaxBytes() {
		return nil
	}
	_, err = s.agent.ModifyVolume(ctx, &agentv1.ModifyVolumeRequest{Id: id, MaxBytes: &most})
	return agentError(s.Shard, err)
}
