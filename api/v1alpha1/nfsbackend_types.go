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
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []NFSBackend `json:"items"`
}

// NFSBackendSpec is what an NFSBackend should be. Exactly one of server and external is set.
//
// +kubebuilder:validation:XValidation:rule="has(self.server) != has(self.external)",message="exactly one of server (the operator runs it) and external (it exists elsewhere) must be set"
// +kubebuilder:validation:XValidation:rule="has(self.server) == has(oldSelf.server)",message="a backend cannot change between server and external: make a new one and move the data"
type NFSBackendSpec struct {
	// server describes NFS servers that the operator runs.
	// +optional
	Server *ManagedServer `json:"server,omitempty"`
	// external describes an NFS server that exists elsewhere. It is reserved: this version accepts it and makes the
	// backend Stalled with the reason ExternalNotSupported.
	// +optional
	External *ExternalServer `json:"external,omitempty"`
	// deletionPolicy says what becomes of the disks when the NFSBackend is deleted, which is only possible once it
	// holds no volume. Retain keeps the disks' claims; an NFSBackend made anew under the same name takes them
	// over. Delete deletes the claims and gives their PersistentVolumes back the reclaim policy that they came with.
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
// +kubebuilder:validation:XValidation:rule="self.graceSeconds >= self.leaseSeconds",message="graceSeconds must be at least leaseSeconds: a client notices a restart only when it renews its lease"
type ManagedServer struct {
	// shards is the number of independent servers, each with a disk and an address of its own. It may grow.
	// +optional
	// +default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1
	// +kubebuilder:validation:XValidation:rule="self >= oldSelf",message="shards may only grow: a server that holds volumes cannot be taken away"
	Shards int32 `json:"shards,omitempty"`
	// storage is where a server's data lies.
	// +required
	Storage ServerStorage `json:"storage,omitzero"`
	// resources are requests and limits of the server's container. A memory limit is not advised: the page cache of
	// the served files counts to it.
	// +optional
	Resources *corev1.ResourceRequirements `json:"resources,omitempty"`
	// nodeSelector restricts the nodes that run the servers.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]string `json:"nodeSelector,omitempty"`
	// tolerations of the server pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// leaseSeconds is the NFSv4 lease: a client that is silent for longer loses its locks.
	// +optional
	// +default=18
	// +kubebuilder:validation:Minimum=10
	// +kubebuilder:validation:Maximum=60
	LeaseSeconds int32 `json:"leaseSeconds,omitempty"`
	// graceSeconds is the longest time after a restart in which clients may only reclaim what they had.
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
}

// ServerStorage is where a server's data lies.
type ServerStorage struct {
	// volumeClaimTemplate describes the PersistentVolumeClaim that the operator makes for each server's disk.
	// +required
	VolumeClaimTemplate VolumeClaimTemplate `json:"volumeClaimTemplate,omitzero"`
}

// VolumeClaimTemplate describes the claim of a server's disk: a raw block device, which must be blank or hold the data of
// a backend of this name.
//
// +kubebuilder:validation:XValidation:rule="has(self.storageClassName) == has(oldSelf.storageClassName)",message="storageClassName is immutable: the disk exists"
type VolumeClaimTemplate struct {
	// storageClassName is the class of the disk; the cluster's default class where it is absent.
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="storageClassName is immutable: the disk exists"
	StorageClassName *string `json:"storageClassName,omitempty"`
	// size of the disk, at least 1Gi. It may grow where the class allows expansion.
	// +required
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity('1Gi')) >= 0",message="size must be at least 1Gi"
	// +kubebuilder:validation:XValidation:rule="quantity(string(self)).compareTo(quantity(string(oldSelf))) >= 0",message="size may only grow: a file system that holds volumes cannot shrink"
	Size resource.Quantity `json:"size,omitzero"`
}

// ExternalServer is an NFS server that exists elsewhere.
type ExternalServer struct {
	// server is its DNS name or IP address.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Server string `json:"server,omitempty"`
	// path is the exported directory below which the volumes are made.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	// +kubebuilder:validation:Pattern=`^/`
	Path string `json:"path,omitempty"`
}

// NFSBackendStatus is what an NFSBackend is.
type NFSBackendStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Reconciling and Stalled after kstatus; InUse while it holds data.
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
	// volumes is the number of volumes on all servers.
	// +optional
	Volumes *int32 `json:"volumes,omitempty"`
	// shards says how each server is.
	// +optional
	// +listType=map
	// +listMapKey=shard
	// +kubebuilder:validation:MaxItems=64
	Shards []ShardStatus `json:"shards,omitempty"`
}

// SpaceUsed says how full a disk is.
// +kubebuilder:validation:Enum=Normal;High;Full
type SpaceUsed string

const (
	SpaceNormal SpaceUsed = "Normal"
	SpaceHigh   SpaceUsed = "High"
	SpaceFull   SpaceUsed = "Full"
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
	// for running mounts know no other.
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
	// available is what can still be promised: the size of the largest volume that can be made here.
	// +optional
	Available *resource.Quantity `json:"available,omitempty"`
	// volumes on this server.
	// +optional
	Volumes *int32 `json:"volumes,omitempty"`
	// message says why it is not serving.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
}
