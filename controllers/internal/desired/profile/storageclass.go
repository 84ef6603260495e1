// Package profile builds the objects that are generated from a StorageProfile: pure functions, one file per object.
package profile

import (
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	storagev1ac "k8s.io/client-go/applyconfigurations/storage/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// StorageClass is the class that claims name. Its parameters hold the profile's name and nothing else: what a volume
// is made with is read from the profile at that moment, so that the class need not be made again for every edit.
func StorageClass(profile *v1alpha1.StorageProfile) *storagev1ac.StorageClassApplyConfiguration {
	class := storagev1ac.StorageClass(profile.Name).
		WithLabels(map[string]string{names.LabelManagedBy: names.FieldOwner, names.LabelProfile: profile.Name}).
		WithOwnerReferences(metav1ac.OwnerReference().
			WithAPIVersion(v1alpha1.GroupVersion.String()).
			WithKind("StorageProfile").
			WithName(profile.Name).
			WithUID(profile.UID).
			WithController(true).
			WithBlockOwnerDeletion(true)).
		WithProvisioner(names.Driver).
		WithParameters(map[string]string{names.ParameterProfile: profile.Name}).
		WithReclaimPolicy(profile.Spec.ReclaimPolicy).
		WithVolumeBindingMode(profile.Spec.VolumeBindingMode).
		WithAllowVolumeExpansion(profile.Spec.VolumeExpansion == v1alpha1.ExpansionAllowed)
	if len(profile.Spec.MountOptions) > 0 {
		class.WithMountOptions(profile.Spec.MountOptions...)
	}
	return class
}
