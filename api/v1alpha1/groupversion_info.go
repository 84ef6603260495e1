// Package v1alpha1 holds the custom resources of nfs-operator.
//
// +kubebuilder:object:generate=true
// +groupName=storage.nfs-operator.io
package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is the group and version of all kinds here.
var GroupVersion = schema.GroupVersion{Group: "storage.nfs-operator.io", Version: "v1alpha1"}

var (
	schemeBuilder = runtime.NewSchemeBuilder(addKnownTypes)
	// AddToScheme registers the kinds.
	AddToScheme = schemeBuilder.AddToScheme
)

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion,
		&NFSBackend{}, &NFSBackendList{},
		&StorageProfile{}, &StorageProfileList{},
		&NFSDriver{}, &NFSDriverList{},
	)
	metav1.AddToGroupVersion(scheme, GroupVersion)
	return nil
}
