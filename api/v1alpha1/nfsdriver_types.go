package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// NFSDriver is the CSI driver of the cluster. There is one, called default; the manager makes it when there is none.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=nfsd,categories=nfs
// +kubebuilder:printcolumn:name="Ready",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].status`
// +kubebuilder:printcolumn:name="Nodes",type=string,JSONPath=`.status.nodes`
// +kubebuilder:printcolumn:name="Version",type=string,JSONPath=`.status.version`
// +kubebuilder:printcolumn:name="Message",type=string,JSONPath=`.status.conditions[?(@.type=="Ready")].message`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.metadata.name == 'default'",message="there is one NFSDriver in a cluster, and its name is default"
type NFSDriver struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard object's metadata.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitzero"`
	// spec is what should be; all of it is optional.
	// +optional
	// +default={}
	Spec NFSDriverSpec `json:"spec,omitzero"`
	// status is what is.
	// +optional
	Status NFSDriverStatus `json:"status,omitzero"`
}

// NFSDriverList is a list of NFSDrivers.
//
// +kubebuilder:object:root=true
type NFSDriverList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitzero"`
	Items           []NFSDriver `json:"items"`
}

// NFSDriverSpec is how the CSI driver should run.
type NFSDriverSpec struct {
	// kubeletDirectory is the kubelet's --root-dir on the nodes.
	// +optional
	// +default="/var/lib/kubelet"
	// +kubebuilder:validation:Pattern=`^/[A-Za-z0-9._/-]+$`
	// +kubebuilder:validation:MaxLength=255
	KubeletDirectory string `json:"kubeletDirectory,omitempty"`
	// logLevel of the controller and the node plugin: Info says what happened, Debug also every call, Trace also the
	// frequent ones.
	// +optional
	// +default="Info"
	LogLevel LogLevel `json:"logLevel,omitempty"`
	// images of the containers, in place of those that this version of the operator comes with.
	// +optional
	Images DriverImages `json:"images,omitzero"`
	// controller is how the CSI controller runs.
	// +optional
	// +default={}
	Controller DriverController `json:"controller,omitzero"`
	// node is how the CSI node plugin runs.
	// +optional
	// +default={}
	Node DriverNode `json:"node,omitzero"`
}

// DriverController is how the CSI controller runs.
type DriverController struct {
	// replicas of the controller, of which the sidecars elect a leader each.
	// +optional
	// +default=2
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=5
	Replicas int32 `json:"replicas,omitempty"`
	// tolerations of its pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// nodeSelector are labels that a node must have to run one of its pods.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
	// priorityClassName of its pods; absent, system-cluster-critical.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// resources of the container csi-controller; absent, it asks for a little and has no limit.
	// +optional
	Resources *ContainerResources `json:"resources,omitempty"`
	// sidecarResources of each of the containers csi-provisioner, csi-resizer and csi-snapshotter; absent, they ask for a
	// little and have no limit. Their memory grows with the number of volumes and claims of the cluster.
	// +optional
	SidecarResources *ContainerResources `json:"sidecarResources,omitempty"`
}

// DriverNode is how the CSI node plugin runs.
type DriverNode struct {
	// tolerations of its pods; absent, they run on every node.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
	// nodeSelector are labels that a node must have to run one of its pods; absent, every node does. A node without the
	// plugin can mount no volume, and one that loses it cannot unmount.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	NodeSelector map[string]LabelValue `json:"nodeSelector,omitempty"`
	// priorityClassName of its pods; absent, system-node-critical.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:Pattern=`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`
	PriorityClassName string `json:"priorityClassName,omitempty"`
	// resources of its container; absent, it asks for a little and has no limit.
	// +optional
	Resources *ContainerResources `json:"resources,omitempty"`
}

// LogLevel says how much is logged.
// +kubebuilder:validation:Enum=Info;Debug;Trace
type LogLevel string

const (
	LogInfo  LogLevel = "Info"
	LogDebug LogLevel = "Debug"
	LogTrace LogLevel = "Trace"
)

// DriverImages are the images of the containers of the CSI driver. One that is absent is what the manager's environment
// variable RELATED_IMAGE_* says, or the one that this version was tested with.
type DriverImages struct {
	// operator is the image of the containers csi-controller and csi-node.
	// +optional
	Operator ImageReference `json:"operator,omitempty"`
	// provisioner is the image of the container csi-provisioner.
	// +optional
	Provisioner ImageReference `json:"provisioner,omitempty"`
	// resizer is the image of the container csi-resizer.
	// +optional
	Resizer ImageReference `json:"resizer,omitempty"`
	// snapshotter is the image of the container csi-snapshotter.
	// +optional
	Snapshotter ImageReference `json:"snapshotter,omitempty"`
}

// ImageReference names a container image.
// +kubebuilder:validation:MaxLength=512
// +kubebuilder:validation:Pattern=`^[A-Za-z0-9][A-Za-z0-9._/:@-]*$`
type ImageReference string

// ContainerResources is what a container asks for and what it gets at most.
type ContainerResources struct {
	// requests by the resource's name, as cpu and memory.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	Requests corev1.ResourceList `json:"requests,omitempty"`
	// limits by the resource's name.
	// +optional
	// +kubebuilder:validation:MaxProperties=8
	Limits corev1.ResourceList `json:"limits,omitempty"`
}

// NFSDriverStatus is how the CSI driver runs.
type NFSDriverStatus struct {
	// observedGeneration is the generation of the spec that this status is about.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// conditions: Ready, Reconciling and Stalled after kstatus.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
	// installNamespace is the namespace of the operator that owns this driver. An operator in another namespace
	// stands aside.
	// +optional
	// +kubebuilder:validation:MaxLength=63
	InstallNamespace string `json:"installNamespace,omitempty"`
	// version of the operator whose controller and node plugins run everywhere. It changes when a roll-out has come to
	// its end; until then the condition Reconciling says from which version to which.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// nodes says on how many nodes the plugin is ready, of how many that should have it, as "2/2".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Nodes string `json:"nodes,omitempty"`
	// snapshots is Supported where the cluster has the CRDs of volume snapshots, so that the driver makes them.
	// +optional
	Snapshots SnapshotSupport `json:"snapshots,omitempty"`
}

// SnapshotSupport says whether the cluster has the CRDs of volume snapshots.
// +kubebuilder:validation:Enum=Supported;NotInstalled
type SnapshotSupport string

const (
	SnapshotsSupported    SnapshotSupport = "Supported"
	SnapshotsNotInstalled SnapshotSupport = "NotInstalled"
)
