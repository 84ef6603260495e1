package driver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	// giveUpAfter is how long a server may be away before what was not written to it is given up. A server that is only
	// restarted, or moved to another node, is back much sooner, and then nothing is lost.
	giveUpAfter = 10 * time.Minute
	// detachTimeout bounds a forced unmount. Where it is not enough, the mount is out of sight all the same.
	detachTimeout = 5 * time.Second
)

// ReasonForced is the reason of the event about a forced unmount.
const ReasonForced = "VolumeUnmountForced"

// Events tells people what they cannot see in an error of a call; event.Node is one.
type Events interface {
	// Warn does not wait.
	Warn(reason, note string)
}

// unmountOrGiveUp unmounts, and when that does not come to an end and never may, takes the mount away all the same: so
// that pods of a server that is gone can be deleted. With force what the kernel holds for the server is thrown away;
// other mounts of the volume on this node would suffer, so it is for the last one only.
func (n *Node) unmountOrGiveUp(ctx context.Context, v volumeid.Volume, target string, force bool) error {
	cause := n.unmount(ctx, target)
	if !errors.Is(cause, mount.ErrTimeout) && !errors.Is(cause, mount.ErrBusy) {
		return cause
	}
	m, mounted, err := n.mountAt(target)
	if err != nil {
		return cause
	}
	if !mounted {
		// The kernel takes a mount out of sight first and writes back then. What is left is watched (Linger).
		return nil
	}
	if !m.IsNFS() {
		return cause
	}
	reason := n.whyGiveUp(ctx, v, m)
	if reason == "" || n.answers(ctx, target) { // an agent may be away while the NFS server is there
		return cause
	}
	return n.detach(ctx, v, target, force, reason)
}

func (n *Node) mountAt(target string) (mount.Mount, bool, error) {
	mounts, err := n.Mounter.Mounts()
	if err != nil {
		return mount.Mount{}, false, err
	}
	m, ok := mount.At(mounts, target)
	return m, ok, nil
}

// whyGiveUp says why nobody will ever write to the volume again, or nothing.
func (n *Node) whyGiveUp(ctx context.Context, v volumeid.Volume, m mount.Mount) string {
	switch err := n.ask(ctx, v); {
	case err == nil:
		return n.leftForGood(ctx, v, m)
	case status.Code(err) == codes.NotFound && !isExport(v):
		return "the volume does not exist any more"
	case answered(err):
		return ""
	}
	if n.BackendGone != nil && n.BackendGone(ctx, v.Shard.Backend) {
		return fmt.Sprintf("NFSBackend %q does not exist any more", v.Shard.Backend)
	}
	if silent := n.Agents.Silent(v.Shard); silent >= n.GiveUpAfter {
		return fmt.Sprintf("server %s has not answered for %s", v.Shard.Name(), silent.Round(time.Second))
	}
	return ""
}

// answers reports whether the file system at target does.
func (n *Node) answers(ctx context.Context, target string) bool {
	_, err := n.filesystemUsage(ctx, target)
	return err == nil
}

// ask calls a volume's agent, only to see what it says.
func (n *Node) ask(ctx context.Context, v volumeid.Volume) error {
	ctx, cancel := context.WithTimeout(ctx, usageTimeout)
	defer cancel()
	agent, err := n.Agents.Connect(ctx, v.Shard)
	if err != nil {
		return status.Error(codes.Unavailable, err.Error())
	}
	_, err = agent.Client.GetUsage(ctx, &agentv1.GetUsageRequest{Id: v.ID})
	if answered(err) {
		return errors.Join(err, n.Agents.Confirm(v.Shard, agent.Address))
	}
	return err
}

// answered reports whether an error, or none, is what an agent said that serves.
func answered(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return false
	default:
		return true
	}
}

func (n *Node) detach(ctx context.Context, v volumeid.Volume, target string, force bool, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, detachTimeout)
	defer cancel()
	err := n.Mounter.Detach(ctx, target, force)
	if _, mounted, lookErr := n.mountAt(target); lookErr != nil || mounted {
		return errors.Join(err, lookErr, fmt.Errorf("detach %s: %w", target, mount.ErrBusy))
	}
	note := fmt.Sprintf("Volume %s was unmounted by force from %s, because %s. What pods of this node had written and the "+
		"server had not acknowledged may be lost.", v, target, reason)
	logr.FromContextOrDiscard(ctx).Info("Unmounted by force: data may be lost", "volume", v.String(), "target", target, "reason", reason)
	n.Events.Warn(ReasonForced, note)
	return nil
}
