package nfsbackend

import (
	"fmt"
	"slices"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// setLimitations says what the storage of the servers cannot do. What was known stays while an agent cannot say.
func setLimitations(s *scope) {
	lacking := map[v1alpha1.Limitation][]string{} // names of servers
	var all []v1alpha1.Limitation
	unknown := false
	for _, shard := range s.shards {
		can := shard.agent.GetCapabilities()
		unknown = unknown || can == nil
		for _, l := range lacks(shard, can) {
			if lacking[l] == nil {
				all = append(all, l)
			}
			lacking[l] = append(lacking[l], shard.Name())
		}
	}
	servers := map[string]int{} // that lack a capability
	for l, names := range lacking {
		servers[l.Capability] += len(names)
	}
	var now []v1alpha1.Limitation
	for _, l := range all {
		if names := lacking[l]; len(names) < len(s.shards) {
			l.Reason = listed(names) + ": " + l.Reason
		}
		l.Partial = servers[l.Capability] < len(s.shards)
		now = withLimitation(now, l)
	}
	if unknown {
		now = withKnown(now, s.backend.Status.Limitations)
	}
	s.backend.Status.Limitations = now
}

// withKnown keeps what was said before of each capability: a server that cannot be asked is none that can do it.
func withKnown(now, before []v1alpha1.Limitation) []v1alpha1.Limitation {
	for _, l := range before {
		same := func(n v1alpha1.Limitation) bool { return n.Capability == l.Capability }
		if i := slices.IndexFunc(now, same); i >= 0 {
			now[i] = l
		} else {
			now = append(now, l)
		}
	}
	return now
}

// withLimitation adds one, or another reason for one that is there: a capability is listed once.
func withLimitation(all []v1alpha1.Limitation, l v1alpha1.Limitation) []v1alpha1.Limitation {
	for i := range all {
		if all[i].Capability == l.Capability {
			all[i].Reason = truncate(all[i].Reason + "; " + l.Reason)
			return all
		}
	}
	l.Reason = truncate(l.Reason)
	return append(all, l)
}

// lacks is what one server's storage cannot do. A disk that the agent has formatted can do everything.
func lacks(shard *shardState, can *agentv1.Capabilities) (found []v1alpha1.Limitation) {
	if can == nil || ofOurs(shard) {
		return nil
	}
	add := func(able bool, capability, reason string) {
		if !able {
			found = append(found, v1alpha1.Limitation{Capability: capability, Reason: reason})
		}
	}
	quota, snapshots, durable := ofShare, noClones, ""
	if !shard.External() {
		quota, snapshots, durable = ofFilesystem(shard.agent.GetFilesystem())
	}
	add(can.GetQuota(), "Quota", quota)
	add(can.GetReflink(), v1alpha1.CapabilitySnapshots, snapshots)
	add(can.GetAccess(), "Fencing", "the server's own list of clients decides who can mount: a host that it admits can mount any volume, "+
		"and a node that is cut off is not kept from writing to volumes of the access mode ReadWriteOnce")
	add(can.GetAccess(), "Squash", "the server's own export decides how user ids are mapped: profiles can only have squash mode None")
	add(can.GetXattrs(), "ExtendedAttributes", "extended attributes of users are not kept there")
	if shard.External() {
		return found
	}
	add(can.GetDurable(), "Durability", durable)
	add(can.GetStableHandles(), "StableHandles", "file handles contain the number of the disk's device: when it gets another, after a restart of its node or "+
		"on another node, nothing is served (HandleWouldChange) until it has this one again; use volumeMode Block")
	return found
}

// ofOurs tells whether the agent has formatted the disk.
func ofOurs(shard *shardState) bool { return !shard.External() && shard.agent.GetFilesystem() == "" }

// unlimited tells whether room is not what has not been promised, but what no file takes.
func unlimited(shard *shardState, can *agentv1.Capabilities) bool {
	return !ofOurs(shard) && !can.GetQuota()
}

const (
	ofShare = "NFS has no means to limit a directory: a volume can take more than its size, up to the whole share, and what it uses is " +
		"not known; set limits on the server itself"
	noClones = "the share cannot clone files: there are no snapshots, and no volume can be made from a snapshot or from another volume"
)

// ofFilesystem says why sizes are not enforced, why nothing can be cloned, and why a power cut can take back what was answered, where the
// kubelet has mounted a file system of some type.
func ofFilesystem(kind string) (quota, snapshots, durable string) {
	const (
		noLimit  = "a volume can take more than its size, up to the whole disk, what it uses is not known, and there are no static exports"
		noCopies = "there are no snapshots, and no volume can be made from a snapshot or from another volume"
		lost     = "files that were made, renamed or removed, and locks that were taken, in the last seconds before a power cut can be lost or be back"
		howTo    = "; a disk that exists has the mountOptions of its PersistentVolume, from when it is mounted next"
	)
	if kind == "xfs" {
		return "the disk is mounted without prjquota: " + noLimit + ". Add prjquota to the mountOptions of its StorageClass" + howTo,
			"the file system was made without reflink: " + noCopies + ". Use disks that were made with mkfs.xfs -m reflink=1",
			"the disk is mounted without wsync: " + lost + ". Add wsync to the mountOptions of its StorageClass" + howTo
	}
	return fmt.Sprintf("sizes are enforced on XFS only, and the file system is %s: %s. Use a StorageClass of XFS with the mountOptions prjquota and wsync", kind, noLimit),
		fmt.Sprintf("files are cloned on XFS only, and the file system is %s: %s. Use a StorageClass of XFS", kind, noCopies),
		"the disk is mounted without dirsync: " + lost + ". Add dirsync to the mountOptions of its StorageClass" + howTo
}
