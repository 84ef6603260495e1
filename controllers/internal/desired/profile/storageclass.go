// Package profile builds the objects that are generated from a StorageProfile: pure functions, one file per object.
package profile

import (
	"strconv"

	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	storagev1ac "k8s.io/client-go/applyconfigurations/storage/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// annotationDefault is Kubernetes' mark of the default class. Its constant is not in a package meant for others.
const annotationDefault = "storageclass.kubernetes.io/is-default-class"

// StorageClass is the class that claims name. Its parameters hold the profile's name and nothing else: what a volume
// is made with is read from the profile at that moment, so that the class need not be made again for every edit.
func StorageClass(profile *v1alpha1.StorageProfile) *storagev1ac.StorageClassApplyConfiguration {
	class := storagev1ac.StorageClass(profile.Name).
		WithLabels(generated(profile)).
		WithOwnerReferences(owner(profile)).
		WithProvisioner(names.Driver).
		WithParameters(map[string]string{names.ParameterProfile: profile.Name}).
		WithReclaimPolicy(profile.Spec.ReclaimPolicy).
		WithVolumeBindingMode(profile.Spec.VolumeBindingMode).
		WithAllowVolumeExpansion(profile.Spec.VolumeExpansion == v1alpha1.ExpansionAllowed)
	if len(profile.Spec.MountOptions) > 0 {
		class.WithMountOptions(profile.Spec.MountOptions...)
	}
	if choice := profile.Spec.DefaultClass; choice != "" {
		class.WithAnnotations(map[string]string{annotationDefault: strconv.FormatBool(choice == v1alpha1.ClassDefault)})
	}
	return class
}

// generated labels what is made from a profile.
func generated(profile *v1alpha1.StorageProfile) map[string]string {
	return map[string]string{names.LabelManagedBy: names.FieldOwner, names.LabelProfile: profile.Name}
}

// owner lets the garbage collector remove what is made from a profile as soon as the profile goes: no volume needs it.
func owner(profile *v1alpha1.StorageProfile) *metav1ac.OwnerReferenceApplyConfiguration {
	return metav1ac.OwnerReference().
		WithAPIVersion(v1alpha1.GroupVersion.String()).
		WithKind("StorageProfile").
		WithName(profile.Name).
		WithUID(profile.UID).
		WithController(true).
		WithBlockOwnerDeletion(true)
}
