// Package driver builds the objects of the CSI stack: pure functions, one file per object.
package driver

import (
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
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
	// ControllerAccount and NodeAccount are the UIDs of the ServiceAccounts; empty where they are not known.
	ControllerAccount, NodeAccount string
	// Snapshots is whether the cluster has the CRDs of volume snapshots; they are not ours to install.
	Snapshots bool
}

// podTemplate is one whose pods are replaced when their ServiceAccount was made anew.
func podTemplate(labels map[string]string, account string, spec *corev1ac.PodSpecApplyConfiguration) *corev1ac.PodTemplateSpecApplyConfiguration {
	template := corev1ac.PodTemplateSpec().WithLabels(labels).WithSpec(spec)
	if account != "" {
		template.WithAnnotations(map[string]string{meta.AnnotationAccount: account})
	}
	return template
}
