package server

import (
	"cmp"

	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Claim is the PersistentVolumeClaim of the shard's disk. It carries our finalizer, so that a namespace that is deleted
// waits for a person instead of destroying the data.
func Claim(s Shard) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	return ReleasedClaim(s).WithFinalizers(names.Finalizer)
}

// ReleasedClaim is the claim when its backend is gone: it may be deleted then, and its PersistentVolume stays.
func ReleasedClaim(s Shard) *corev1ac.PersistentVolumeClaimApplyConfiguration {
	spec := corev1ac.PersistentVolumeClaimSpec().
		WithVolumeMode(s.VolumeMode()).
		// Not ReadWriteOncePod: most drivers of local disks, and hand-made PersistentVolumes, do not offer it.
		WithAccessModes(corev1.ReadWriteOnce).
		WithResources(corev1ac.VolumeResourceRequirements().
			WithRequests(corev1.ResourceList{corev1.ResourceStorage: s.Size()}))
	if volume := s.volumeName(); volume != "" {
		spec.WithVolumeName(volume)
	}
	if class := s.storageClass(); class != nil {
		spec.WithStorageClassName(*class)
	}
	claim := corev1ac.PersistentVolumeClaim(s.ClaimName(), s.Namespace).
		WithLabels(s.guardedLabels()).
		WithSpec(spec)
	if s.ServerID != "" {
		claim.WithAnnotations(map[string]string{meta.AnnotationServerID: s.ServerID})
	}
	return claim
}

// storageClass is immutable in a claim: a disk that is adopted keeps the class that it has.
func (s Shard) storageClass() *string {
	switch {
	case s.Claim != nil:
		return s.Claim.Spec.StorageClassName
	case s.Host() != nil:
		return new("") // no class: it is bound by name, and nothing is provisioned for it
	case s.Adopted != nil:
		return new(s.Adopted.Spec.StorageClassName)
	}
	return s.Backend.Spec.Server.Storage.VolumeClaimTemplate.StorageClassName
}

// VolumeMode is how the server gets its disk. Like the class, it is immutable in a claim, and that of a disk.
func (s Shard) VolumeMode() corev1.PersistentVolumeMode {
	switch {
	case s.Host() != nil:
		return corev1.PersistentVolumeBlock
	case s.Claim != nil && s.Claim.Spec.VolumeMode != nil:
		return *s.Claim.Spec.VolumeMode
	case s.Adopted != nil && s.Adopted.Spec.VolumeMode != nil:
		return *s.Adopted.Spec.VolumeMode
	}
	return cmp.Or(s.Backend.Spec.Server.Storage.VolumeClaimTemplate.VolumeMode, corev1.PersistentVolumeBlock)
}

// Mounted tells whether the kubelet mounts the disk, so that the agent finds a file system that others have made.
func (s Shard) Mounted() bool {
	return !s.External() && s.VolumeMode() == corev1.PersistentVolumeFilesystem
}

// volumeName binds a new claim to a disk that exists. In a claim that is bound it is immutable.
func (s Shard) volumeName() string {
	switch {
	case s.Claim != nil:
		return s.Claim.Spec.VolumeName
	case s.Host() != nil:
		return s.Name()
	case s.Adopted != nil:
		return s.Adopted.Name
	default:
		return ""
	}
}

// ProtectedVolume is what we own of the disk's PersistentVolume: it survives its claim, whatever becomes of that.
func ProtectedVolume(s Shard, volume *corev1.PersistentVolume) *corev1ac.PersistentVolumeApplyConfiguration {
	protected := corev1ac.PersistentVolume(volume.Name).
		WithLabels(s.Labels()).
		WithAnnotations(map[string]string{meta.AnnotationReclaimPolicy: string(FormerPolicy(volume))}).
		WithSpec(corev1ac.PersistentVolumeSpec().WithPersistentVolumeReclaimPolicy(corev1.PersistentVolumeReclaimRetain))
	if s.DiskID != "" {
		protected.WithAnnotations(map[string]string{meta.AnnotationServerID: s.DiskID})
	}
	return protected
}

// ReleasedVolume gives the PersistentVolume back the reclaim policy that it came with. It takes our labels and notes off:
// a disk that was to be deleted, and stays because its own policy is Retain, is not for the next backend of this name.
func ReleasedVolume(volume *corev1.PersistentVolume) *corev1ac.PersistentVolumeApplyConfiguration {
	return corev1ac.PersistentVolume(volume.Name).
		WithSpec(corev1ac.PersistentVolumeSpec().WithPersistentVolumeReclaimPolicy(FormerPolicy(volume)))
}

// MadeFor tells whether a disk was provisioned for this very claim, and from nothing, so that nothing can have been on it before.
func MadeFor(claim *corev1.PersistentVolumeClaim, volume *corev1.PersistentVolume) bool {
	_, provisioned := volume.Annotations[annotationProvisionedBy]
	return provisioned && claim.Spec.DataSource == nil && claim.Spec.DataSourceRef == nil && volume.Spec.ClaimRef != nil && volume.Spec.ClaimRef.UID == claim.UID &&
		!volume.CreationTimestamp.Before(&claim.CreationTimestamp)
}

// annotationProvisionedBy is set by the provisioners of disks (component-helpers, storage/volume: AnnDynamicallyProvisioned).
const annotationProvisionedBy = "pv.kubernetes.io/provisioned-by"

// FormerPolicy is the reclaim policy that a disk came with.
func FormerPolicy(volume *corev1.PersistentVolume) corev1.PersistentVolumeReclaimPolicy {
	if noted, ok := volume.Annotations[meta.AnnotationReclaimPolicy]; ok {
		return corev1.PersistentVolumeReclaimPolicy(noted)
	}
	return volume.Spec.PersistentVolumeReclaimPolicy
}

// OnNetwork tells whether a disk can be reached from more than one node.
func OnNetwork(volume *corev1.PersistentVolume) bool {
	if volume.Spec.Local != nil || volume.Spec.HostPath != nil {
		return false
	}
	if volume.Spec.NodeAffinity == nil || volume.Spec.NodeAffinity.Required == nil {
		return true
	}
	for _, term := range volume.Spec.NodeAffinity.Required.NodeSelectorTerms {
		for _, expression := range term.MatchExpressions {
			// Local disks of CSI drivers use topology keys of their own; zones and regions hold more than one node.
			if expression.Key != corev1.LabelTopologyZone && expression.Key != corev1.LabelTopologyRegion {
				return false
			}
		}
	}
	return true
}
