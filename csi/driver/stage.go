package driver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// The kubelet waits two minutes for a call; each ends well before.
const (
	openTimeout  = 20 * time.Second
	mountTimeout = 45 * time.Second
	// bindTimeout is long for what needs no server: on a node that is short of CPU the child takes its time to start, and
	// one that is killed too early begins again from nothing at each retry.
	bindTimeout    = 45 * time.Second
	unmountTimeout = 30 * time.Second
	usageTimeout   = 3 * time.Second
)

// stage is a NodeStageVolumeRequest that makes sense.
type stage struct {
	volume     volumeid.Volume
	path       string
	flags      []string
	readOnly   bool
	singleNode bool
	group      *uint32 // that is to read and write the volume
	reattach   bool    // a deleted volume whose data were kept is to come back
}

// reattachAttribute in a PersistentVolume's volumeAttributes says that a deleted volume is to come back. No volume gets it from its creation:
// it is the only thing in a volume's context that is read.
const reattachAttribute = "reattach"

func parseStage(req *csi.NodeStageVolumeRequest) (stage, error) {
	if req.GetVolumeId() == "" {
		return stage{}, invalid("volume_id is missing")
	}
	if err := checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return stage{}, err
	}
	if err := checkCapability(req.GetVolumeCapability()); err != nil {
		return stage{}, err
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return stage{}, err
	}
	mode := req.GetVolumeCapability().GetAccessMode().GetMode()
	s := stage{
		volume: v, path: req.GetStagingTargetPath(), flags: req.GetVolumeCapability().GetMount().GetMountFlags(),
		readOnly: readOnly(mode), singleNode: singleNode(mode),
	}
	if s.readOnly {
		s.flags = append(slices.Clone(s.flags), "ro") // whatever the user's options say
	}
	if s.group, err = parseGroup(req.GetVolumeCapability(), v, s.readOnly); err != nil {
		return stage{}, err
	}
	switch reattach := req.GetVolumeContext()[reattachAttribute]; reattach {
	case "", "false":
	case "true":
		s.reattach = true
	default:
		return stage{}, invalid("volumeAttributes: %s is %.50q, not true or false", reattachAttribute, reattach)
	}
	return s, nil
}

func (s stage) record() nodestate.Volume {
	return nodestate.Volume{Handle: s.volume.String(), StagingPath: s.path, ReadOnly: s.readOnly, SingleNode: s.singleNode}
}

// NodeStageVolume implements CSI.
func (n *Node) NodeStageVolume(ctx context.Context, req *csi.NodeStageVolumeRequest) (*csi.NodeStageVolumeResponse, error) {
	s, err := parseStage(req)
	if err != nil {
		return nil, toStatus(err)
	}
	key := s.volume.String()
	if !n.locks.TryAcquire(key) {
		return nil, busy("volume " + key)
	}
	defer n.locks.Release(key)
	done, err := n.staged(s)
	if err != nil {
		return nil, uncertain(err)
	}
	if done {
		return &csi.NodeStageVolumeResponse{}, nil
	}
	if err := n.stage(ctx, s); err != nil {
		return nil, toStatus(err)
	}
	return &csi.NodeStageVolumeResponse{}, nil
}

// staged reports whether the volume is mounted already; then the server is not asked, for it may be away. After a
// restart the kubelet stages all volumes again.
func (n *Node) staged(s stage) (bool, error) {
	mounts, err := n.Mounter.Mounts()
	if err != nil {
		return false, err
	}
	m, ok := mount.At(mounts, s.path)
	if !ok {
		return false, nil
	}
	if !n.isVolume(m, s.volume) {
		return false, status.Errorf(codes.Aborted, "%s is mounted at %s", m.Source, s.path)
	}
	known, ok := n.State.Get(s.volume.String())
	if ok && known.StagingPath == s.path && known.Lingering == nil && !known.Recovered {
		return true, nil
	}
	// The state was lost, or an unmount was begun and did not succeed.
	record := s.record()
	record.Source, record.Options, record.Group, record.Address = m.Source, known.Options, known.Group, known.Address
	_, err = n.State.Begin(record)
	n.Announcer.Changed(s.volume.Shard)
	return err == nil, err
}

// isVolume reports whether a mount shows a volume: it is what the agent said, or at least looks like it.
func (n *Node) isVolume(m mount.Mount, v volumeid.Volume) bool {
	if known, ok := n.State.Get(v.String()); ok && known.Source != "" && m.IsNFS() && known.Source == m.Source {
		return true
	}
	return nodestate.Shows(m, v)
}

// stage opens access and mounts. The volume is written down first: from then on the announcements name it, and a crash
// leaves nothing that nobody knows of.
func (n *Node) stage(ctx context.Context, s stage) error {
	agent, err := n.Agents.Connect(ctx, s.volume.Shard)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	// A former call may have timed out, and its mount may still come to be.
	_, pending := n.State.Get(s.volume.String())
	record, err := n.State.Begin(s.record())
	if err != nil {
		return err
	}
	// Whatever the outcome, the agent is to know what this node has now.
	defer n.Announcer.Changed(s.volume.Shard)
	m, err := n.prepare(ctx, agent, s, record)
	if err != nil {
		if pending {
			return uncertain(err)
		}
		if forgetErr := n.State.Forget(record.Handle); forgetErr != nil {
			return forgetErr
		}
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, mountTimeout)
	defer cancel()
	if err := n.Mounter.NFS(ctx, m); err != nil {
		return n.failedMount(s, err)
	}
	return nil
}

// prepare does all that comes before the mount, and writes down what will be mounted.
func (n *Node) prepare(ctx context.Context, agent agents.Connection, s stage, record nodestate.Volume) (mount.NFS, error) {
	m, err := n.openAccess(ctx, agent, s, record)
	if err != nil {
		return m, err
	}
	if err := n.checkConnections(ctx, s.volume, m.Options); err != nil {
		return m, err
	}
	if s.group != nil {
		if err := setGroup(ctx, agent, s.volume, *s.group); err != nil {
			return m, err
		}
	}
	return m, n.State.Update(record.Handle, func(v *nodestate.Volume) {
		v.Source, v.Options, v.Group = mount.Source(m.Address, m.Path), m.Options.Data, s.group
		if m.Address == agent.Address {
			v.Address = agent.Address
		}
	})
}

func (n *Node) openAccess(ctx context.Context, agent agents.Connection, s stage, record nodestate.Volume) (mount.NFS, error) {
	client, err := n.Client()
	if err != nil {
		return mount.NFS{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	opened, err := agent.Client.OpenAccess(ctx, &agentv1.OpenAccessRequest{Client: client, Grant: record.Grant(), Reattach: s.reattach})
	if err != nil {
		return mount.NFS{}, agentError(s.volume.Shard, err)
	}
	if lost := opened.GetTakenFrom(); len(lost) > 0 {
		n.tellTakeover(ctx, s.volume, lost)
	}
	if err := n.Agents.Confirm(s.volume.Shard, agent.Address); err != nil {
		return mount.NFS{}, err
	}
	address := agent.Address
	if server := opened.GetServer(); server != "" {
		if address, err = n.Agents.Resolve(ctx, server); err != nil {
			return mount.NFS{}, status.Error(codes.Unavailable, err.Error())
		}
	}
	options, err := mount.MakeOptions(address, opened.GetMountOptions(), s.flags)
	if err != nil {
		return mount.NFS{}, err
	}
	return mount.NFS{Address: address, Path: opened.GetPath(), Target: s.path, Options: options}, nil
}

// ReasonTakenOver is the reason of the event about a volume that another node has lost to this one.
const ReasonTakenOver = "VolumeTakenOver"

func (n *Node) tellTakeover(ctx context.Context, v volumeid.Volume, lost []string) {
	from := strings.Join(lost, ", ")
	logr.FromContextOrDiscard(ctx).Info("Volume is taken over", "volume", v.String(), "from", from)
	n.Events.Warn(ReasonTakenOver, fmt.Sprintf("Volume %s, for one node at a time, was taken over from %s, whose node plugin server %s has not heard for too long. "+
		"Pods that still run there get EACCES (permission denied) for it: delete them, and see why the node plugin is silent.", v, from, v.Shard.Name()))
}

// failedMount strikes the volume out only when it is certainly not mounted.
func (n *Node) failedMount(s stage, cause error) error {
	if errors.Is(cause, mount.ErrTimeout) || errors.Is(cause, mount.ErrBusy) {
		return cause
	}
	mounts, err := n.Mounter.Mounts()
	if err != nil {
		return uncertain(errors.Join(cause, err))
	}
	if _, ok := mount.At(mounts, s.path); ok {
		return uncertain(cause)
	}
	if err := n.State.Forget(s.volume.String()); err != nil {
		return uncertain(errors.Join(cause, err))
	}
	return mountError(cause)
}

// NodeUnstageVolume implements CSI. It does not wait for the agent: the next announcement closes the access.
func (n *Node) NodeUnstageVolume(ctx context.Context, req *csi.NodeUnstageVolumeRequest) (*csi.NodeUnstageVolumeResponse, error) {
	if req.GetVolumeId() == "" {
		return nil, invalid("volume_id is missing")
	}
	if err := checkPath("staging_target_path", req.GetStagingTargetPath()); err != nil {
		return nil, err
	}
	v, err := volumeid.ParseVolume(req.GetVolumeId())
	if err != nil {
		return nil, toStatus(err)
	}
	key := v.String()
	if !n.locks.TryAcquire(key) {
		return nil, busy("volume " + key)
	}
	defer n.locks.Release(key)
	if err := n.unstage(ctx, v, req.GetStagingTargetPath()); err != nil {
		return nil, toStatus(err)
	}
	return &csi.NodeUnstageVolumeResponse{}, nil
}

// unstage writes down which file system the unmount is about before it unmounts, so that a crash between the two does
// not close the access of a file system that still writes back.
func (n *Node) unstage(ctx context.Context, v volumeid.Volume, staging string) error {
	handle := v.String()
	m, mounted, err := n.mountAt(staging)
	if err != nil {
		return err
	}
	if mounted {
		if err := n.linger(handle, m); err != nil {
			return err
		}
	} else if err := n.Mounter.RenewDir(staging); err != nil {
		// The mount of a stage that has timed out may still come to be, for a process that waits in the kernel cannot always be killed. Nobody
		// would know of it.
		return fmt.Errorf("make the staging path anew, where nothing was mounted and nothing may lie: %w", unmountError(err))
	}
	if err := n.unmountOrGiveUp(ctx, v, staging, true); err != nil {
		return err
	}
	defer n.Announcer.Changed(v.Shard)
	if _, known := n.State.Get(handle); !known { // unstaged before, or the state was lost and the access is still open
		return n.State.Reopen(v.Shard)
	}
	if err := n.State.Forget(handle); err != nil {
		return err
	}
	if _, lingers := n.State.Get(handle); !lingers {
		return nil
	}
	_, err = n.State.Reconcile(n.Mounter, false)
	return err
}

func (n *Node) linger(handle string, m mount.Mount) error {
	held, err := n.filesystemOf(m)
	if err != nil || held == (mount.Filesystem{}) {
		return err
	}
	return n.State.Linger(handle, held)
}

// filesystemOf is what the kernel holds for a mount, or nothing.
func (n *Node) filesystemOf(m mount.Mount) (mount.Filesystem, error) {
	filesystems, err := n.Mounter.Filesystems()
	if err != nil {
		return mount.Filesystem{}, err
	}
	for _, f := range filesystems {
		if f.Device == m.Device {
			return f, nil
		}
	}
	return mount.Filesystem{}, nil
}

// unmount takes away all that is mounted at a path.
func (n *Node) unmount(ctx context.Context, target string) error {
	ctx, cancel := context.WithTimeout(ctx, unmountTimeout)
	defer cancel()
	for {
		mounts, err := n.Mounter.Mounts()
		if err != nil {
			return err
		}
		if _, ok := mount.At(mounts, target); !ok {
			return nil
		}
		if err := n.Mounter.Unmount(ctx, target); err != nil {
			return unmountError(err)
		}
	}
}
