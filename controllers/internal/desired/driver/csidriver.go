package driver

import (
	storagev1 "k8s.io/api/storage/v1"
	storagev1ac "k8s.io/client-go/applyconfigurations/storage/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// CSIDriver tells Kubernetes what the driver is like. attachRequired and volumeLifecycleModes are immutable, and the
// object must never go while a PersistentVolume of the driver exists: without it the kubelet waits for an attachment.
func CSIDriver() *storagev1ac.CSIDriverApplyConfiguration {
	return storagev1ac.CSIDriver(names.Driver).
		WithLabels(map[string]string{names.LabelManagedBy: names.FieldOwner}).
		WithSpec(storagev1ac.CSIDriverSpec().
			WithAttachRequired(false).
			WithPodInfoOnMount(false).
			WithFSGroupPolicy(storagev1.FileFSGroupPolicy).
			// Every node sees the same capacity, so the scheduler has nothing to choose.
			WithStorageCapacity(false).
			WithRequiresRepublish(false).
			WithVolumeLifecycleModes(storagev1.VolumeLifecyclePersistent))
}
