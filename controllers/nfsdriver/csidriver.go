package nfsdriver

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	storagev1ac "k8s.io/client-go/applyconfigurations/storage/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/driver"
)

// applyCSIDriver brings the CSIDriver to what it should be. Where one is there whose immutable fields differ (somebody
// else made it), it is made again, and only while no volume is: without a CSIDriver, and with attachRequired, the kubelet
// waits for attachments that never come.
func (r *Reconciler) applyCSIDriver(ctx context.Context, s *scope) error {
	if live := s.csiDriver; live != nil && !sameImmutables(live) {
		volume, err := r.anyVolume(ctx)
		if err != nil {
			return err
		}
		if volume != "" {
			s.conflict = fmt.Sprintf("CSIDriver %s was made by somebody else with other settings that cannot be changed, and PersistentVolume %s exists:"+
				" delete the volumes of the driver, and the CSIDriver will be made again", live.Name, volume)
			return nil
		}
		if err := apply.Delete(ctx, r.Client, live); err != nil {
			return err
		}
		r.Recorder.Eventf(s.driver, nil, corev1.EventTypeNormal, "CSIDriverRecreated", "Reconcile",
			"Made CSIDriver %s again, whose attachRequired or volumeLifecycleModes differed; there is no volume of it", live.Name)
	}
	_, err := apply.Object(ctx, r.Client, &storagev1.CSIDriver{}, driver.CSIDriver(), storagev1ac.ExtractCSIDriver)
	return err
}

func sameImmutables(live *storagev1.CSIDriver) bool {
	want := driver.CSIDriver().Spec
	return live.Spec.AttachRequired != nil && *live.Spec.AttachRequired == *want.AttachRequired &&
		slices.Equal(live.Spec.VolumeLifecycleModes, want.VolumeLifecycleModes)
}
