package driver

import (
	"context"
	"fmt"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// mostReserved is how many of a node's ports below 1024 our mounts take at most. The kernel has about 350 for all of its
// NFS clients, and each connection to an agent takes one, too.
const mostReserved = 256

// ReasonOptions is the reason of the event about mount options that have no effect.
const ReasonOptions = "MountOptionsIgnored"

// checkConnections looks at what a mount shares with others of the same server: the kernel makes its connections to a
// server with the first mount of a node, and all others use them, whatever their options say. That is no error, for the
// volume works; it is told, once. An error is a new server for which there are no ports left.
func (n *Node) checkConnections(ctx context.Context, v volumeid.Volume, o mount.Options) error {
	wanted := mount.ConnectionOf(o.Data)
	first := n.firstMounts(v)
	if other, connected := first[endpoint{v.Shard, wanted.Version}]; connected {
		if has := mount.ConnectionOf(other.Options); has != wanted {
			n.tellConflict(ctx, v, wanted, other, has)
		}
		return nil
	}
	if !wanted.Reserved {
		return nil
	}
	ports := wanted.Count + 1 // and the agent's
	for _, other := range first {
		if c := mount.ConnectionOf(other.Options); c.Reserved {
			ports += c.Count + 1
		}
	}
	if ports > mostReserved {
		return status.Errorf(codes.ResourceExhausted, "the mounts of this node would take %d ports below 1024, and %d is the most: "+
			"use fewer servers on a node, or a smaller nconnect", ports, mostReserved)
	}
	return nil
}

// endpoint is what the kernel has connections to.
type endpoint struct {
	shard   volumeid.Shard
	version string
}

// firstMounts are the volumes by which this node is connected to its servers, without the one that is asked about.
func (n *Node) firstMounts(v volumeid.Volume) map[endpoint]nodestate.Volume {
	first := map[endpoint]nodestate.Volume{}
	for _, other := range n.State.Volumes() {
		if other.Handle == v.String() || other.Options == "" {
			continue
		}
		at := endpoint{other.Shard(), mount.ConnectionOf(other.Options).Version}
		if known, ok := first[at]; !ok || other.Generation < known.Generation {
			first[at] = other
		}
	}
	return first
}

func (n *Node) tellConflict(ctx context.Context, v volumeid.Volume, wanted mount.Connection, other nodestate.Volume, has mount.Connection) {
	if !n.told.TryAcquire(v.Shard.String() + " " + wanted.String() + " " + has.String()) {
		return
	}
	note := fmt.Sprintf("Volume %s is to be mounted with %s, but this node is connected to server %s with %s, because of volume %s. "+
		"A node's first mount from a server decides: let all StorageProfiles of a backend have the same mountOptions.",
		v, wanted, v.Shard.Name(), has, other.Handle)
	logr.FromContextOrDiscard(ctx).Info("Mount options have no effect", "volume", v.String(), "wanted", wanted.String(), "has", has.String())
	n.Events.Warn(ReasonOptions, note)
}
