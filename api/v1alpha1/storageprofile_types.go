package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// StorageProfile is what tenants may ask of an NFSBackend. A StorageClass of the same name is generated from it.
// Deleting a profile removes the class and nothing else; applying it again brings the class back.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=sp,categories=nfs
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Backend",type=string,JSONPath=`.spec.backendRef.name`
// +kubebuilder:printcolumn:name="Reclaim",type=string,JSONPath=`.spec.reclaimPolicy`
// +kubebuilder:printcolumn:name="Binding",type=string,JSONPath=`.spec.volumeBindingMode`
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
// +kubebuilder:validation:XValidation:rule="!has(self.minVolumeSize) || !has(self.maxVolumeSize) || quantity(string(self.minVolumeSize)).compareTo(quantity(string(self.maxVolumeSize))) <= 0",message="minVolumeSize must not exceed maxVolumeSize"
type StorageProfileSpec struct {
	// backendRef names the NFSBackend that new volumes are made on.
	// +required
	BackendRef BackendReference `json:"backendRef,omitzero"`
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
	// from a server fixes some of them for all mounts from it, so the profiles of one backend should agree. They act on
	// new volumes only.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MaxLength=128
	// +kubebuilder:validation:items:Pattern=`^[a-z][a-z0-9_]*(=[A-Za-z0-9_.:/-]+)?$`
	// +kubebuilder:validation:XValidation:rule="self.all(o, !o.matches('^(vers|nfsvers|minorversion|v[234]|proto|tcp|tcp6|udp|udp6|rdma|rdma6|addr|clientaddr|port|mountaddr|mounthost|mountport|mountproto|mountvers|sec|fsc|bg|remount|ro|rw|resvport|noresvport)(=|$)'))",message="the driver chooses version, transport, addresses, ports (resvport and noresvport, too) and security flavour of its mounts; bg and remount have no meaning here; read-only is asked for by the access mode"
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
	// minVolumeSize is the least that a claim may ask for.
	// +optional
	MinVolumeSize *resource.Quantity `json:"minVolumeSize,omitempty"`
	// maxVolumeSize is the most that a claim may ask for, also by expansion.
	// +optional
	MaxVolumeSize *resource.Quantity `json:"maxVolumeSize,omitempty"`
}

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
	// largestVolume is the size of the largest volume that can be made now.
	// +optional
	LargestVolume *resource.Quantity `json:"largestVolume,omitempty"`
}
