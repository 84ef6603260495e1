package driver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// followInterval is how often is looked for servers that have come back at another address.
const followInterval = time.Minute

// former are the addresses that servers have left, and since when that is known.
type former struct {
	mu    sync.Mutex
	since map[formerAddress]time.Time
}

type formerAddress struct {
	shard   volumeid.Shard
	address string
}

// left says for how long a server has been known to be elsewhere than at an address.
func (f *former) left(shard volumeid.Shard, address string) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	key := formerAddress{shard, address}
	if _, known := f.since[key]; !known {
		if f.since == nil {
			f.since = map[formerAddress]time.Time{}
		}
		f.since[key] = time.Now()
	}
	return time.Since(f.since[key])
}

// back forgets what was known of a server that is at the address after all.
func (f *former) back(shard volumeid.Shard, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.since, formerAddress{shard, address})
}

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
		v, err := volumeid.ParseVolume(known.Handle)
		if err != nil || known.Lingering != nil {
			continue
		}
		if err := n.leaveFormerAddress(ctx, v, known.StagingPath); err != nil {
			logr.FromContextOrDiscard(ctx).Error(err, "Cannot take away the mount of an address that its server has left", "volume", known.Handle)
		}
	}
}

// leaveFormerAddress does nothing while a call on the volume is in progress: it has what it waits for from there.
func (n *Node) leaveFormerAddress(ctx context.Context, v volumeid.Volume, staging string) error {
	m, mounted, err := n.mountAt(staging)
	if err != nil || !mounted {
		return err
	}
	reason := n.leftForGood(ctx, v, m)
	if reason == "" || !n.locks.TryAcquire(v.String()) {
		return nil
	}
	defer n.locks.Release(v.String())
	held, err := n.filesystemAt(staging)
	if err != nil {
		return err
	}
	if err := n.State.Linger(v.String(), held); err != nil {
		return err
	}
	defer n.Announcer.Changed(v.Shard)
	return n.detach(ctx, v, staging, true, reason)
}

// leftForGood says why a mount will never be answered again, or nothing. Only where the server itself was mounted from: an
// external server's address is not ours to follow.
func (n *Node) leftForGood(ctx context.Context, v volumeid.Volume, m mount.Mount) string {
	known, ok := n.State.Get(v.String())
	if !ok || known.Address == "" {
		return ""
	}
	at, now := mount.Host(m.Source), n.State.Address(v.Shard)
	if at == "" || at == now {
		n.former.back(v.Shard, at)
		return ""
	}
	if n.Published != nil && n.Published(ctx, v.Shard) == now { // of a server that is in use, the operator publishes the former one
		return fmt.Sprintf("server %s is at %s now, and no longer at %s", v.Shard.Name(), now, at)
	}
	if since := n.former.left(v.Shard, at); since >= n.GiveUpAfter {
		return fmt.Sprintf("server %s has been at %s, and no longer at %s, for %s", v.Shard.Name(), now, at, since.Round(time.Second))
	}
	return ""
}
