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
}

// DriverNode is how the CSI node plugin runs.
type DriverNode struct {
	// tolerations of its pods; absent, they run on every node.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=16
	Tolerations []corev1.Toleration `json:"tolerations,omitempty"`
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
	// version of the operator that the stack was made by.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Version string `json:"version,omitempty"`
	// nodes says on how many nodes the plugin is ready, of how many that should have it, as "2/2".
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Nodes string `json:"nodes,omitempty"`
}
