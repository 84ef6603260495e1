package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NFSBackend is a place where volumes live: NFS servers that the operator runs, or a server that exists elsewhere.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nfsb,categories=nfs
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Serving",type=string,JSONPath=`.status.servingShards`
// +kubebuilder:printcolumn:name="Capacity",type=string,JSONPath=`.status.capacity`
// +kubebuilder:printcolumn:name="Allocated",type=string,JSONPath=`.status.allocated`
// +kubebuilder:printcolumn:name="Volumes",type=integer,JSONPath=`.status.volumes`
// +kubebuilder:printcolumn:name="Space",type=string,JSONPath=`.status.spaceUsed`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",message="the name must be a DNS label that starts with a letter, of at most 40 characters: Services and StatefulSets are named after it"
type NFSBackend struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what should be.
	// +required
	Spec NFSBackendSpec `json:"spec,omitzero"`
	// status is what is.
	// +optional
	Status NFSBackendStatus `json:"status,omitzero"`
}

// NFSBackendList is a list of NFSBackends.
//
// +kubebuilder:object:root=true
type NFSBackendList struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard list's metadata.
	metav1.ListMeta `json:"metadata,omitzero"`
	// items are the NFSBackends.
	Items []NFSBackend `json:"items"`
}

// NFSBackendSpec is what an NFSBackend should be. Exactly one of server and external is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.server) != has(self.external)",message="exactly one of server (the operator runs it) and external (it exists elsewhere) must be set"
// +kubebuilder:validation:XValidation:rule="has(self.server) == has(oldSelf.server)",message="a backend cannot change between server and external: make a new one and move the data"
// +kubebuilder:validation:XValidation:rule="!(has(self.server) && has(self.server.storage.hosts)) || self.deletionPolicy != 'Delete'",message="deletionPolicy Delete is not possible with storage.hosts: nobody would wipe the devices"
// +kubebuilder:validation:XValidation:rule="!has(self.external) || self.deletionPolicy != 'Delete'",message="deletionPolicy Delete is not possible with external: the share is not the operator's to delete"
type NFSBackendSpec struct {
	// server describes NFS servers that the operator runs.
	// +optional
	Server *ManagedServer `json:"server,omitempty"`
	// external describes an NFS server that exists elsewhere.
	// +optional
	External *ExternalServer `json:"external,omitempty"`
	// deletionPolicy says what becomes of the disks when the NFSBackend is deleted, which is only possible once it
	// holds no volume. Retain keeps the disks' claims; an NFSBackend made anew under the same name takes them
	// over. Delete deletes the claims and gives their PersistentVolumes back the reclaim policy that they came with; it is
	// refused for storage.hosts and for external, where what lies on the devices or on the share always stays.
	// +optional
	// +default="Retain"
	DeletionPolicy DeletionPolicy `json:"deletionPolicy,omitempty"`
}

// DeletionPolicy says what becomes of disks.
// +kubebuilder:validation:Enum=Retain;Delete
type DeletionPolicy string

const (
	// DeletionRetain keeps the disks.
	DeletionRetain DeletionPolicy = "Retain"
	// DeletionDelete deletes them.
	DeletionDelete DeletionPolicy = "Delete"
)

// ManagedServer describes NFS servers that the operator runs.
//
// +kubebuilder:validation:XValidation:rule="!has(self.exports) || self.exports.all(e, e.shard < self.shards)",message="an export names a shard that does not exist"
// +kubebuilder:validation:XValidation:rule="self.graceSeconds >= self.leaseSeconds",message="graceSeconds must be at least leaseSeconds: a client notices a restart only when it renews its lease"
// +kubebuilder:validation:XValidation:rule="!has(self.storage.hosts) || size(self.storage.hosts) == self.shards && self.storage.hosts.all(h, h.shard < self.shards)",message="storage.hosts must have exactly one entry for each shard from 0 to shards-1"
type ManagedServer struct {
	// shards is the number of independent servers, each with a disk and an address of its own; a volume lies on one of
	// them. It may grow at any time: new volumes go to the server with the most room.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=64
	// +kubebuilder:validation:XValidation:rule="self >= oldSelf",message="shards may only grow, for each server holds volumes that lie on no other: to get rid of servers, make another NFSBackend with fewer, copy the data there and delete this one"
	Shards int32 `json:"shards,omitempty"`
	// storage is where a server's data lies.
	// +required
	Storage     ServerStorage `json:"storage,omitzero"`
	PodSettings `json:",inline"`
	// spread says how strictly the servers are kept on different nodes. Preferred spreads them where there are enough
	// nodes; Required leaves a server waiting rather than have one node run two more servers than another.
	// +optional
	// +default="Preferred"
	Spread SpreadPolicy `json:"spread,omitempty"`
	// updateStrategy says when server pods are replaced by ones of a new version or configuration.
	// +optional
	UpdateStrategy UpdateStrategy `json:"updateStrategy,omitzero"`
	// leaseSeconds is the NFSv4 lease: a client that is silent for longer can lose its locks to others. Clients notice a restart of the server
	// after two thirds of it at the latest.
	// +optional
	// +default=12
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60
	LeaseSeconds int32 `json:"leaseSeconds,omitempty"`
	// graceSeconds is the longest time after a restart in which clients may only reclaim what they had. The server adds a second for
	// every 100 volumes, and more on a slow machine, for it counts from before it has read them.
	// +optional
	// +default=30
	// +kubebuilder:validation:Minimum=15
	// +kubebuilder:validation:Maximum=90
	GraceSeconds int32 `json:"graceSeconds,omitempty"`
	// overcommitPercent is how much of a disk may be promised to volumes, in per cent of its size. 100 promises no
	// byte twice.
	// +optional
	// +default=100
	// +kubebuilder:validation:Minimum=100
	// +kubebuilder:validation:Maximum=1000
	OvercommitPercent int32 `json:"overcommitPercent,omitempty"`
	// access says which clients reach the volumes; the nodes that have them staged where it is absent.
	// +optional
	Access *VolumeAccess `json:"access,omitempty"`
	// exports are static shared directories, for people who mount them by hand or write PersistentVolumes for them.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:XValidation:rule="self.all(a, !self.exists(b, a.name != b.name && ((has(a.path) ? a.path : a.name) + '/').startsWith((has(b.path) ? b.path : b.name) + '/')))",message="no export's path may be or lie within another's"
	Exports []StaticExport `json:"exports,omitempty"`
}

// PodSettings are what can be chosen for the pods of a backend.
type PodSettings struct {
	// resources are requests and limits of the pods' container. A memory limit is not advised for NFS servers that the
	// operator runs: the page cache of the served files counts to it.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector restricts the nodes that run the pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// priorityClassName is the PriorityClass of the pods; system-cluster-critical keeps them from being preempted or
	// evicted before the pods that use their volumes. The cluster's default class where it is absent.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	PriorityClassName string `json:"priorityClassName,omitempty"`
}

// SpreadPolicy says how strictly servers are kept on different nodes.
// +kubebuilder:validation:Enum=Preferred;Required
type SpreadPolicy string

const (
	// SpreadPreferred spreads servers over nodes where there are enough.
	SpreadPreferred SpreadPolicy = "Preferred"
	// SpreadRequired leaves a server unscheduled where there are not.
	SpreadRequired SpreadPolicy = "Required"
)

// UpdateStrategy says when server pods are replaced.
//
// +kubebuilder:validation:XValidation:rule="!has(self.maintenanceWindow) || !has(self.type) || self.type == 'RollingUpdate'",message="a maintenanceWindow needs the type RollingUpdate: with OnDelete pods are replaced when somebody deletes them"
type UpdateStrategy struct {
	// type is RollingUpdate (the operator replaces one pod at a time, and waits until its server serves again) or
	// OnDelete (a person deletes the pods; the status says which are outdated).
	// +optional
	// +default="RollingUpdate"
	Type UpdateStrategyType `json:"type,omitempty"`
	// maintenanceWindow restricts the replacement of pods that serve to some hours. Pods that do not serve are
	// replaced at any time.
	// +optional
	MaintenanceWindow *MaintenanceWindow `json:"maintenanceWindow,omitempty"`
}

// UpdateStrategyType says who replaces server pods.
// +kubebuilder:validation:Enum=RollingUpdate;OnDelete
type UpdateStrategyType string

const (
	// UpdateRolling lets the operator replace one pod at a time.
	UpdateRolling UpdateStrategyType = "RollingUpdate"
	// UpdateOnDelete leaves it to a person.
	UpdateOnDelete UpdateStrategyType = "OnDelete"
)

// MaintenanceWindow is a span of time that comes back every day, or on some days of the week.
type MaintenanceWindow struct {
	// days on which the window opens; every day where it is absent.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=7
	Days []Weekday `json:"days,omitempty"`
	// start is the time of day in UTC at which the window opens, as HH:MM.
	// +required
	// +kubebuilder:validation:MaxLength=5
	// +kubebuilder:validation:Pattern=`^([01][0-9]|2[0-3]):[0-5][0-9]$`
	Start string `json:"start,omitempty"`
	// durationMinutes is how long it stays open, past midnight too. A replacement that has begun is finished.
	// +required
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=1440
	DurationMinutes int32 `json:"durationMinutes,omitempty"`
}

// Weekday is a day of the week.
// +kubebuilder:validation:Enum=Monday;Tuesday;Wednesday;Thursday;Friday;Saturday;Sunday
type Weekday string

// ServerStorage is where the servers' data lies: exactly one of volumeClaimTemplate and hosts is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.volumeClaimTemplate) != has(self.hosts)",message="exactly one of volumeClaimTemplate (disks of a StorageClass) and hosts (block devices of named nodes) must be set"
// +kubebuilder:validation:XValidation:rule="has(self.hosts) == has(oldSelf.hosts)",message="storage cannot change between volumeClaimTemplate and hosts: the disks exist; make another NFSBackend and move the data"
type ServerStorage struct {
	// volumeClaimTemplate describes the PersistentVolumeClaim that the operator makes for each server's disk.
	// +optional
	VolumeClaimTemplate VolumeClaimTemplate `json:"volumeClaimTemplate,omitzero"`
	// hosts names a block device of a node for each server, for clusters without a provisioner of disks. The operator
	// makes a local PersistentVolume for each. There must be one entry for each shard, from 0; entries can be added,
	// together with shards, and neither changed nor removed.
	// +optional
	// +listType=map
	// +listMapKey=shard
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=64
	Hosts []HostDevice `json:"hosts,omitempty"`
}

// HostDevice is a block device of a node, which must be blank or hold the data of this server.
type HostDevice struct {
	// shard is the number of the server that uses the device, from 0.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=63
	Shard int32 `json:"shard"`
	// node is the name of the Node that has the device: the server runs there and nowhere else.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="node is immutable, for the disk is there: to move a disk to another node, delete the NFSBackend (its data stay) and make it anew (docs/backends.md)"
	Node string `json:"node,omitempty"`
	// device is the path of the block device on the node, by a name that stays the same, such as
	// /dev/disk/by-id/nvme-eui.0025. A directory or a file will not do.
	// +required
	// +kubebuilder:validation:MaxLength=255
	// +kubebuilder:validation:Pattern=`^/dev/[-a-zA-Z0-9_.:+@=]+(/[-a-zA-Z0-9_.:+@=]+)*$`
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(part, part == '.' || part == '..')",message="device must not contain . or .. as a part of its path"
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="device is immutable, for it holds the data: to name it otherwise, delete the NFSBackend (its data stay) and make it anew (docs/backends.md)"
	Device string `json:"device,omitempty"`
}

// VolumeClaimTemplate describes the claim of a server's disk, which must be blank or hold the data of a backend of this name.
//
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName)",message="storageClassName is immutable, for the disk exists: make another NFSBackend with the class that you want and move the data"
type VolumeClaimTemplate struct {
	// storageClassName is the class of the disk; the cluster's default class where it is absent.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="storageClassName is immutable, for the disk exists: make another NFSBackend with the class that you want and move the data"
	StorageClassName *string `json:"storageClassName,omitempty"`
	// volumeMode is how the server gets the disk. With Block it gets a raw device, on which it makes an XFS that can do everything. With
	// Filesystem it gets what the class has made, which must be a whole file system for each volume, and empty: XFS with
	// reflink, and with prjquota and wsync among the class's mountOptions, can do everything; what another one cannot do is in
	// status.limitations. A disk that is adopted from a former NFSBackend of this name keeps its mode.
	// +optional
	// +default="Block"
	// +kubebuilder:validation:Enum=Block;Filesystem
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="volumeMode is immutable, for the disk exists: make another NFSBackend with the mode that you want and move the data"
	VolumeMode corev1.PersistentVolumeMode `json:"volumeMode,omitempty"`
	// size of the disk, at least 1Gi. It may grow where the class allows expansion: the file system follows while it
	// is in use.
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Gi')) >= 0",message="size must be at least 1Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",message="size may only grow, for XFS cannot shrink: to use less disk, make another NFSBackend and move the data"
	Size resource.Quantity `json:"size,omitzero"`
}

// ExternalServer is an NFS server that exists elsewhere, such as a NAS, and one directory that it exports. The operator
// runs no NFS server for it: an agent in a small Deployment mounts the share and makes the volumes' directories in it, and
// the nodes mount those from the server itself. What the share cannot do is in status.limitations; docs/external.md says
// how to prepare one. Data stay on the share, whatever becomes of the NFSBackend.
type ExternalServer struct {
	// server is its IP address (IPv6 without brackets), or a DNS name that the cluster's pods and the nodes resolve. A
	// name with a dot is complete: it is not looked up in search domains, which tenants' Services are in.
	// It may change when the same share is reached at another address: another share is refused by the identity that
	// was written on the first (ShareChanged). Volumes that are mounted stay with the former address until their pods
	// have left the node.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="isIP(self) || self.matches('^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?([.][a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*[.]?$')",message="server must be an IP address or a DNS name in lower case, without port, path or brackets"
	Server string `json:"server,omitempty"`
	// path is the exported directory, as clients mount it. It is for one NFSBackend alone: volumes lie below it, beside
	// the agent's records in .nfs-operator. It may change when the same share is exported under another path.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/([-A-Za-z0-9_.:@+=]+(/[-A-Za-z0-9_.:@+=]+)*)?$`
	// +kubebuilder:validation:XValidation:rule="!self.split('/').exists(part, part == '.' || part == '..')",message="path must not contain . or .. as a part"
	Path string `json:"path,omitempty"`
	// mountOptions of the NFS mounts, as in nfs(5), of the agent and of the nodes, added to the driver's own; those of a
	// StorageProfile are added behind them. The version is 4.2, or 4.1 where the server has no 4.2, unless it is given
	// here; transport, addresses and security flavour are the driver's. A change restarts the agent, and acts on what is mounted afterwards; a node's
	// first mount from a server fixes some of them for all mounts from it.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[a-z][a-z0-9_]{0,31}(=[A-Za-z0-9_.:/-]+)?$`
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^(nfsvers|minorversion|v[234]|proto|tcp|tcp6|udp|udp6|rdma|rdma6|addr|clientaddr|mountaddr|mounthost|mountport|mountproto|mountvers|sec|fsc|bg|retry|remount|bind|ro|rw)(=|$)'))",message="the driver chooses transport, addresses and security flavour of its mounts; the version is said as vers=4.1 or vers=4.2; bg, retry, bind and remount have no meaning here; read-only is asked for by the access mode"
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^vers(=|$)') || o == 'vers=4.1' || o == 'vers=4.2')",message="vers must be 4.1 or 4.2: a share of an older version of NFS cannot be used"
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^port(=|$)') || o.matches('^port=[1-9][0-9]{0,4}$') && int(o.substring(5)) <= 65535)",message="port must be 1 to 65535"
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^nconnect(=|$)') || o.matches('^nconnect=[1-8]$'))",message="nconnect must be 1 to 8: servers can hang with more connections from one client"
	MountOptions []string `json:"mountOptions,omitempty"`
	PodSettings  `json:",inline"`
}

// NFSBackendStatus is what an NFSBackend is.
type NFSBackendStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Reconciling and Stalled after kstatus; InUse, which is True while it holds data or
	// may hold some; Paused while the annotation storage.nfs-operator.io/paused is set; Released while it is deleted.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// capacity is the size of all disks together.
	// +optional
	Capacity *resource.Quantity `json:"capacity,omitempty"`
	// allocated is what is promised to volumes, snapshots and the trash. Used bytes are metrics, not status.
	// +optional
	Allocated *resource.Quantity `json:"allocated,omitempty"`
	// spaceUsed says how full the fullest disk is: Normal, High (from 80 per cent), Full (from 95 per cent).
	// +optional
	SpaceUsed SpaceUsed `json:"spaceUsed,omitempty"`
	// trash is what deleted volumes still take, until they are emptied in the background; it counts as allocated.
	// +optional
	Trash *resource.Quantity `json:"trash,omitempty"`
	// volumes is the number of volumes on all servers.
	// +optional
	Volumes *int32 `json:"volumes,omitempty"`
	// snapshots is the number of snapshots on all servers.
	// +optional
	Snapshots *int32 `json:"snapshots,omitempty"`
	// measured is when capacity, allocated, trash and the counts were last written. They change with every volume, and
	// are written at most every 30 seconds.
	// +optional
	Measured *metav1.Time `json:"measured,omitempty"`
	// servingShards is how many servers serve, of how many.
	// +optional
	// +kubebuilder:validation:MaxLength=16
	ServingShards string `json:"servingShards,omitempty"`
	// version is the version that all servers run; empty while they run different ones.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// limitations are what the share of an external server, or a file system that was not made by the operator, cannot do,
	// and why. What asks for it is answered with an error, unless the reason says otherwise.
	// +optional
	// +listType=map
	// +listMapKey=capability
	// +kubebuilder:validation:MaxItems=16
	Limitations []Limitation `json:"limitations,omitempty"`
	// shards says how each server is. An external backend has one, number 0: its agent.
	// +optional
	// +listType=map
	// +listMapKey=shard
	// +kubebuilder:validation:MaxItems=64
	Shards []ShardStatus `json:"shards,omitempty"`
}

// Limitation is something that a backend cannot do.
type Limitation struct {
	// capability is one word for what it cannot do: Quota, Snapshots, Fencing, Squash, ExtendedAttributes, Durability, StableHandles.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	Capability string `json:"capability,omitempty"`
	// reason says why, and what follows from it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// partial is true while some of the servers can do it; the reason names those that cannot.
	// +optional
	Partial bool `json:"partial,omitempty"`
}

// CapabilitySnapshots is the capability of making snapshots and copies of volumes.
const CapabilitySnapshots = "Snapshots"

// SpaceUsed says how full a disk is.
// +kubebuilder:validation:Enum=Normal;High;Full
type SpaceUsed string

const (
	// SpaceNormal is below 80 per cent.
	SpaceNormal SpaceUsed = "Normal"
	// SpaceHigh is from 80 per cent, and until 75.
	SpaceHigh SpaceUsed = "High"
	// SpaceFull is from 95 per cent, and until 90.
	SpaceFull SpaceUsed = "Full"
)

// ShardStatus says how one server is.
type ShardStatus struct {
	// shard is the server's number, from 0.
	// +required
	Shard int32 `json:"shard"`
	// serving is true while clients are answered.
	// +required
	Serving bool `json:"serving"`
	// address is the server's ClusterIP. It outlives the Service: a Service that is lost is made again with it,
	// for running mounts know no other. For an external backend it is the agent's.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Address string `json:"address,omitempty"`
	// node runs the server.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Node string `json:"node,omitempty"`
	// serverID is the identity on the disk.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ServerID string `json:"serverID,omitempty"`
	// version of the agent.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// ganeshaVersion is the version of the NFS server.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	GaneshaVersion string `json:"ganeshaVersion,omitempty"`
	// mkfsOptions names the set of options that the disk was formatted with.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	MkfsOptions string `json:"mkfsOptions,omitempty"`
	// capacity of the disk.
	// +optional
	Capacity *resource.Quantity `json:"capacity,omitempty"`
	// allocated is what is promised of it.
	// +optional
	Allocated *resource.Quantity `json:"allocated,omitempty"`
	// available is what can still be promised: the size of the largest volume that can be made here. Where sizes are not enforced (limitations)
	// it is what is free, and is written when it has changed by a twentieth.
	// +optional
	Available *resource.Quantity `json:"available,omitempty"`
	// trash is what deleted volumes still take of it.
	// +optional
	Trash *resource.Quantity `json:"trash,omitempty"`
	// volumes on this server.
	// +optional
	Volumes *int32 `json:"volumes,omitempty"`
	// snapshots on this server.
	// +optional
	Snapshots *int32 `json:"snapshots,omitempty"`
	// outdated is true while the server runs an older version or configuration than it should.
	// +optional
	Outdated bool `json:"outdated,omitempty"`
	// reason is one word for why it is not serving, empty while it serves.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// message says why it is not serving, or what else is wrong with it.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// warnings are what does not keep the server from serving, and wants a person's attention.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MaxLength=1024
	Warnings []string `json:"warnings,omitempty"`
}
