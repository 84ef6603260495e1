// Package driver builds the objects of the CSI stack: pure functions, one file per object.
package driver

import (
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/images"
)

// Stack is what the builders need to know.
type Stack struct {
	// Driver is the custom resource.
	Driver *v1alpha1.NFSDriver
	// Namespace of all operands.
	Namespace string
	// Images of the containers.
	Images images.Set
	// Snapshots is whether the cluster has the CRDs of volume snapshots; they are not ours to install.
	Snapshots bool
}
