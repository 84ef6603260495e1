package driver

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// followInterval is how often is looked for servers that have come back at another address.
const followInterval = time.Minute

// FollowServers takes away mounts of addresses that their servers have left for good, until the context ends. Such a mount waits for
// ever, and so does whoever looks at its path: the kubelet, before it asks for the volume to be staged again.
func (n *Node) FollowServers(ctx context.Context) error {
	ticker := time.NewTicker(followInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			n.leaveFormerAddresses(ctx)
		}
	}
}

func (n *Node) leaveFormerAddresses(ctx context.Context) {
	for _, known := range n.State.Volumes() {
		if known.Address == n.State.Address(known.Shard()) {
			continue // without its lock: a call of the kubelet would be told to come again
		}
		v, err := volumeid.ParseVolume(known.Handle)
		if err == nil {
			err = n.leaveFormerAddress(ctx, v, known.StagingPath)
		}
		if err != nil {
			logr.FromContextOrDiscard(ctx).Error(err, "Cannot take away the mount of an address that its server has left", "volume", known.Handle)
		}
	}
}

// leaveFormerAddress does nothing while a call on the volume is in progress: it has what it waits for from there.
func (n *Node) leaveFormerAddress(ctx context.Context, v volumeid.Volume, staging string) error {
	if !n.locks.TryAcquire(v.String()) {
		return nil
	}
	defer n.locks.Release(v.String())
	m, mounted, err := n.mountAt(staging)
	if err != nil || !mounted {
		return err
	}
	reason := n.leftForGood(ctx, v, m)
	if reason == "" {
		return nil
	}
	held, err := n.filesystemOf(m)
	if err != nil {
		return err
	}
	if err := n.State.Linger(v.String(), held); err != nil {
		return err
	}
	defer n.Announcer.Changed(v.Shard)
	return n.detach(ctx, v, staging, true, reason)
}

// leftForGood says why a mount will never be answered again, or nothing: the server answers at another address, and its NFSBackend
// says that one, too. Of a server in use whose Service was made anew with another address it goes on to say the former one: the
// operator wants that back. Only where the server itself was mounted from: an external server's address is not ours to follow.
func (n *Node) leftForGood(ctx context.Context, v volumeid.Volume, m mount.Mount) string {
	known, ok := n.State.Get(v.String())
	if !ok || known.Address == "" || !m.IsNFS() || n.Published == nil {
		return ""
	}
	at, now := mount.Host(m.Source), n.State.Address(v.Shard)
	if now == "" || at == now || n.Published(ctx, v.Shard) != now {
		return ""
	}
	return fmt.Sprintf("server %s is at %s now, and no longer at %s", v.Shard.Name(), now, at)
}
