package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StorageProfile is what tenants may ask of one or more NFSBackends. A StorageClass of the same name is generated from
// it, a VolumeSnapshotClass of the same name where the cluster has volume snapshots, and an admission policy when it says
// who may use it or how. Deleting a profile removes these and nothing else: its volumes live on and can be
// deleted, but not expanded, which Kubernetes refuses without a class; applying the profile again brings the classes back.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sp,categories=nfs
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Backends",type=string,JSONPath=`.status.backends`
// +kubebuilder:printcolumn:name="Reclaim",type=string,JSONPath=`.spec.reclaimPolicy`
// +kubebuilder:printcolumn:name="Binding",type=string,JSONPath=`.spec.volumeBindingMode`
// +kubebuilder:printcolumn:name="Available",type=string,JSONPath=`.status.available`
// +kubebuilder:printcolumn:name="Largest",type=string,JSONPath=`.status.largestVolume`
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].reason`,priority=1
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name.size() <= 63",message="the name must have at most 63 characters: it becomes a label value"
type StorageProfile struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what should be.
	// +required
	Spec StorageProfileSpec `json:"spec,omitzero"`
	// status is what is.
	// +optional
	Status StorageProfileStatus `json:"status,omitzero"`
}

// StorageProfileList is a list of StorageProfiles.
//
// +kubebuilder:object:root=true
type StorageProfileList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []StorageProfile `json:"items"`
}

// StorageProfileSpec is what a StorageProfile should be.
//
// +kubebuilder:validation:XValidation:rule="has(self.backendRef) != has(self.backendSelector)",message="exactly one of backendRef and backendSelector must say where the volumes are made"
// +kubebuilder:validation:XValidation:rule="!has(self.minVolumeSize) || !has(self.maxVolumeSize) || quantity(string(self.minVolumeSize)).compareTo(quantity(string(self.maxVolumeSize))) <= 0",message="minVolumeSize must not exceed maxVolumeSize"
type StorageProfileSpec struct {
	// backendRef names the NFSBackend that new volumes are made on. Either this or backendSelector is given.
	// +optional
	BackendRef BackendReference `json:"backendRef,omitzero"`
	// backendSelector selects the NFSBackends that new volumes are made on, by their labels: each new volume goes to the
	// server with the most room among them. A copy of a volume or a snapshot lies where its source does. Either this or
	// backendRef is given.
	// +optional
	BackendSelector *LabelSelector `json:"backendSelector,omitempty"`
	// defaultClass says whether the generated StorageClass is the one that claims get which name none. Absent, the class's
	// annotation storageclass.kubernetes.io/is-default-class is left to people.
	// +optional
	DefaultClass DefaultClass `json:"defaultClass,omitempty"`
	// reclaimPolicy of the generated StorageClass: what becomes of a volume when its claim is deleted. Existing
	// PersistentVolumes keep theirs.
	// +optional
	// +default="Delete"
	// +kubebuilder:validation:Enum=Delete;Retain
	ReclaimPolicy corev1.PersistentVolumeReclaimPolicy `json:"reclaimPolicy,omitempty"`
	// volumeBindingMode of the generated StorageClass. Immediate makes the volume as soon as the claim exists;
	// WaitForFirstConsumer when a pod that uses it is scheduled.
	// +optional
	// +default="Immediate"
	// +kubebuilder:validation:Enum=Immediate;WaitForFirstConsumer
	VolumeBindingMode storagev1.VolumeBindingMode `json:"volumeBindingMode,omitempty"`
	// volumeExpansion of the generated StorageClass: whether claims may grow.
	// +optional
	// +default="Allowed"
	VolumeExpansion VolumeExpansion `json:"volumeExpansion,omitempty"`
	// mountOptions of the NFS mounts, as in nfs(5), added to the driver's own. The version, the transport, the addresses
	// and the ports (also resvport and noresvport) are the driver's, and nconnect is at most 8. A node's first mount
	// from a server fixes nconnect, timeo and retrans for all mounts from it: profiles of one backend that disagree say so with
	// the condition MountOptionsDiffer. They act on new volumes only.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[a-z][a-z0-9_]{0,31}(=[A-Za-z0-9_.:/-]+)?$`
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^(vers|nfsvers|minorversion|v[234]|proto|tcp|tcp6|udp|udp6|rdma|rdma6|addr|clientaddr|port|mountaddr|mounthost|mountport|mountproto|mountvers|sec|fsc|bg|retry|remount|bind|ro|rw|resvport|noresvport)(=|$)'))",message="the driver chooses version, transport, addresses, ports (resvport and noresvport, too) and security flavour of its mounts; bg, retry, bind and remount have no meaning here; read-only is asked for by the access mode"
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^nconnect(=|$)') || o.matches('^nconnect=[1-8]$'))",message="nconnect must be 1 to 8: servers can hang with more connections from one client"
	MountOptions []string `json:"mountOptions,omitempty"`
	// directory is how the root directory of a new volume is made. Later edits act on new volumes only.
	// +optional
	// +default={}
	Directory DirectoryOptions `json:"directory,omitzero"`
	// squash maps user ids of the clients. Later edits act on new volumes only.
	// +optional
	// +default={}
	Squash SquashOptions `json:"squash,omitzero"`
	// onDelete says what becomes of the data when a volume is deleted. Later edits act on new volumes only.
	// +optional
	// +default="Delete"
	OnDelete OnDeletePolicy `json:"onDelete,omitempty"`
	// minVolumeSize is the least that a claim may ask for. Claims that exist are not affected by a later edit.
	// +optional
	MinVolumeSize *resource.Quantity `json:"minVolumeSize,omitempty"`
	// maxVolumeSize is the most that a claim may ask for, also by expansion. Claims that exist and are larger stay as they
	// are; they can no longer grow.
	// +optional
	MaxVolumeSize *resource.Quantity `json:"maxVolumeSize,omitempty"`
	// accessModes that a claim may ask for; absent, all of them. Claims that exist are not affected by a later edit.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=4
	// +kubebuilder:validation:items:Enum=ReadWriteOnce;ReadWriteOncePod;ReadWriteMany;ReadOnlyMany
	AccessModes []corev1.PersistentVolumeAccessMode `json:"accessModes,omitempty"`
	// allowedNamespaces are the namespaces whose claims may use the class; absent, all of them. Claims that exist are not
	// affected by a later edit, nor by a namespace's losing its label: they can be bound, expanded and deleted.
	// +optional
	AllowedNamespaces *AllowedNamespaces `json:"allowedNamespaces,omitempty"`
	// snapshots says how volumes can be snapshotted.
	// +optional
	// +default={}
	Snapshots SnapshotOptions `json:"snapshots,omitzero"`
}

// DefaultClass says whether a class is the default one.
// +kubebuilder:validation:Enum=Default;NotDefault
type DefaultClass string

const (
	ClassDefault    DefaultClass = "Default"
	ClassNotDefault DefaultClass = "NotDefault"
)

// AllowedNamespaces are those that are named and those whose labels match.
//
// +kubebuilder:validation:XValidation:rule="has(self.names) || has(self.selector)",message="allowedNamespaces needs names or a selector; leave it out to allow every namespace"
type AllowedNamespaces struct {
	// names of namespaces that are allowed.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=256
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`
	Names []string `json:"names,omitempty"`
	// selector allows the namespaces whose labels match, beside those that are named. Whoever may label namespaces decides
	// by it.
	// +optional
	Selector *LabelSelector `json:"selector,omitempty"`
}

// SnapshotOptions says how volumes can be snapshotted.
type SnapshotOptions struct {
	// class says whether a VolumeSnapshotClass of the profile's name is generated, where the cluster has volume snapshots.
	// +optional
	// +default="Generate"
	Class SnapshotClass `json:"class,omitempty"`
	// deletionPolicy of the generated VolumeSnapshotClass: what becomes of the data when a VolumeSnapshot is deleted.
	// Existing VolumeSnapshotContents keep theirs.
	// +optional
	// +default="Delete"
	// +kubebuilder:validation:Enum=Delete;Retain
	DeletionPolicy string `json:"deletionPolicy,omitempty"`
	// maxSnapshots is the most snapshots that a volume may have at a time; absent, the server's space is the only limit.
	// Later edits act on new snapshots.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=65535
	MaxSnapshots *int32 `json:"maxSnapshots,omitempty"`
}

// SnapshotClass says whether a VolumeSnapshotClass is generated.
// +kubebuilder:validation:Enum=Generate;None
type SnapshotClass string

const (
	SnapshotClassGenerate SnapshotClass = "Generate"
	SnapshotClassNone     SnapshotClass = "None"
)

// BackendReference names an NFSBackend.
type BackendReference struct {
	// name of the NFSBackend.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=40
	Name string `json:"name,omitempty"`
}

// VolumeExpansion says whether claims may grow.
// +kubebuilder:validation:Enum=Allowed;Refused
type VolumeExpansion string

const (
	ExpansionAllowed VolumeExpansion = "Allowed"
	ExpansionRefused VolumeExpansion = "Refused"
)

// DirectoryOptions is how the root directory of a new volume is made.
type DirectoryOptions struct {
	// mode is its permission bits in octal.
	// +optional
	// +default="0777"
	// +kubebuilder:validation:Pattern=`^[0-7]{3,4}$`
	// +kubebuilder:validation:MaxLength=4
	Mode string `json:"mode,omitempty"`
	// uid owns it.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967294
	UID *int64 `json:"uid,omitempty"`
	// gid is its group.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967294
	GID *int64 `json:"gid,omitempty"`
}

// SquashOptions maps user ids.
type SquashOptions struct {
	// mode: None takes ids as the client sends them, Root maps uid 0 to the anonymous ids, All maps every id.
	// +optional
	// +default="None"
	Mode SquashMode `json:"mode,omitempty"`
	// anonymousUID is what a squashed uid becomes.
	// +optional
	// +default=65534
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967294
	AnonymousUID *int64 `json:"anonymousUID,omitempty"`
	// anonymousGID is what its group becomes.
	// +optional
	// +default=65534
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=4294967294
	AnonymousGID *int64 `json:"anonymousGID,omitempty"`
}

// SquashMode says whose ids are mapped.
// +kubebuilder:validation:Enum=None;Root;All
type SquashMode string

const (
	SquashNone SquashMode = "None"
	SquashRoot SquashMode = "Root"
	SquashAll  SquashMode = "All"
)

// OnDeletePolicy says what becomes of a deleted volume's data.
// +kubebuilder:validation:Enum=Delete;Archive;Retain
type OnDeletePolicy string

const (
	OnDeleteDelete  OnDeletePolicy = "Delete"
	OnDeleteArchive OnDeletePolicy = "Archive"
	OnDeleteRetain  OnDeletePolicy = "Retain"
)

// StorageProfileStatus is what a StorageProfile is.
type StorageProfileStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Reconciling and Stalled after kstatus.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// storageClassName is the generated class.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	StorageClassName string `json:"storageClassName,omitempty"`
	// volumeSnapshotClassName is the generated class of snapshots; empty where the cluster has no volume snapshots.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	VolumeSnapshotClassName string `json:"volumeSnapshotClassName,omitempty"`
	// backends says how many NFSBackends can take a volume, of how many that the spec selects, as "1/2".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Backends string `json:"backends,omitempty"`
	// available is what can still be promised on all servers together. A volume lies on one of them: see largestVolume.
	// Both figures are written again when they have changed by a twentieth.
	// +optional
	Available *resource.Quantity `json:"available,omitempty"`
	// largestVolume is the size of the largest volume that can be made now.
	// +optional
	LargestVolume *resource.Quantity `json:"largestVolume,omitempty"`
	// carriedOver is what people had written on a StorageClass that is being made again, for the case that the operator
	// ends between the class's deletion and its new creation. Absent otherwise.
	// +optional
	CarriedOver *CarriedOver `json:"carriedOver,omitempty"`
}

// CarriedOver is labels and annotations on their way from a deleted object to the one in its place. Those that exceed
// these bounds are left behind.
type CarriedOver struct {
	// uid of the object that they were on.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	UID string `json:"uid,omitempty"`
	// labels by key.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Labels map[string]string `json:"labels,omitempty"`
	// annotations by key.
	// +optional
	// +kubebuilder:validation:MaxProperties=64
	Annotations map[string]string `json:"annotations,omitempty"`
}
