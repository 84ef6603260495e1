package driver

import (
	"context"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// publish is a NodePublishVolumeRequest that makes sense.
type publish struct {
	volume       volumeid.Volume
	staging      string
	target       string
	readOnly     bool
	singleTarget bool
	group        *uint32 // that is to read and write the volume
}

func parsePublish(req *csi.NodePublishVolumeRequest) (publish, error) {
	if req.GetVolumeId() == "" {
		return publish{}, invalid("volume_id is missing")
	}
	if err := checkPath("target_path", req.GetTargetPath()); err != nil {
		return publish{}, err
	}
	if err := checkCapability(req.GetVolumeCapability()); err != nil {
		return publish{}, err
	}
	if req.GetStagingTargetPath() == "" {
		return publish{}, status.Error(codes.FailedPrecondition, "staging_target_path is missing")
	}
	if err := checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return publish{}, err
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return publish{}, err
	}
	mode := req.GetVolumeCapability().GetAccessMode().GetMode()
	p := publish{
		volume: v, staging: req.GetStagingTargetPath(), target: req.GetTargetPath(),
		readOnly: req.GetReadonly() || readOnly(mode), singleTarget: singleTarget(mode),
	}
	p.group, err = parseGroup(req.GetVolumeCapability(), v, p.readOnly)
	return p, err
}

// key is what is locked: pods that share a volume do not wait for one another, unless only one may have it.
func (p publish) key() string {
	if p.singleTarget {
		return p.volume.String()
	}
	return p.volume.String() + " at " + p.target
}

// NodePublishVolume implements CSI.
func (n *Node) NodePublishVolume(ctx context.Context, req *csi.NodePublishVolumeRequest) (*csi.NodePublishVolumeResponse, error) {
	p, err := parsePublish(req)
	if err != nil {
		return nil, toStatus(err)
	}
	if !n.locks.TryAcquire(p.key()) {
		return nil, busy("volume " + p.key())
	}
	defer n.locks.Release(p.key())
	if err := n.publish(ctx, p); err != nil {
		return nil, toStatus(err)
	}
	return &csi.NodePublishVolumeResponse{}, nil
}

func (n *Node) publish(ctx context.Context, p publish) error {
	mounts, err := n.Mounter.Mounts()
	if err != nil {
		return uncertain(err)
	}
	staged, ok := mount.At(mounts, p.staging)
	if !ok || !n.isVolume(staged, p.volume) {
		return status.Errorf(codes.FailedPrecondition, "volume %s is not staged at %s", p.volume, p.staging)
	}
	published, ok := mount.At(mounts, p.target)
	readOnly := p.readOnly || staged.ReadOnly() // by the mount options
	switch {
	case ok && published.Device != staged.Device:
		return status.Errorf(codes.Aborted, "%s is mounted at %s", published.Source, p.target)
	case ok && published.ReadOnly() && !readOnly:
		return status.Errorf(codes.Aborted, "volume %s is published read-only at %s: unpublish it first", p.volume, p.target)
	case ok && published.ReadOnly() == readOnly:
		return nil
	}
	if other := otherTarget(mounts, p, staged.Device); p.singleTarget && other != "" {
		return status.Errorf(codes.FailedPrecondition, "volume %s admits one pod at a time, and is published at %s", p.volume, other)
	}
	if err := n.shareWithGroup(ctx, p); err != nil {
		return uncertain(err)
	}
	if err := n.Mounter.MakeDir(p.target); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, bindTimeout)
	defer cancel()
	if err := n.Mounter.Bind(ctx, p.staging, p.target, p.readOnly); err != nil {
		return uncertain(err)
	}
	return nil
}

// otherTarget is a path at which the volume is published, other than p's. The kubelet's own bind mounts of
// subdirectories of it, which it makes from what we publish, are not.
func otherTarget(mounts []mount.Mount, p publish, device string) string {
	for _, m := range mounts {
		if m.Device == device && m.Target != p.staging && m.Target != p.target && !strings.Contains(m.Target, "/volume-subpaths/") {
			return m.Target
		}
	}
	return ""
}

// NodeUnpublishVolume implements CSI.
func (n *Node) NodeUnpublishVolume(ctx context.Context, req *csi.NodeUnpublishVolumeRequest) (*csi.NodeUnpublishVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	if err := checkPath("target_path", req.GetTargetPath()); err != nil {
		return nil, err
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	key := publish{volume: v, target: req.GetTargetPath()}.key()
	if !n.locks.TryAcquire(key) {
		return nil, busy("volume " + key)
	}
	defer n.locks.Release(key)
	if err := n.unmountOrGiveUp(ctx, v, req.GetTargetPath(), false); err != nil {
		return nil, toStatus(err)
	}
	if err := n.Mounter.RemoveDir(req.GetTargetPath()); err != nil {
		return nil, toStatus(err)
	}
	return &csi.NodeUnpublishVolumeResponse{}, nil
}
