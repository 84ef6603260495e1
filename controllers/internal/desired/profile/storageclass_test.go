package profile

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/golden"
)

func TestGolden(t *testing.T) {
	golden.Equal(t, "storageclass", StorageClass(&v1alpha1.StorageProfile{
		ObjectMeta: metav1.ObjectMeta{Name: "shared-rwx", UID: "1234"},
		Spec: v1alpha1.StorageProfileSpec{
			ReclaimPolicy:     corev1.PersistentVolumeReclaimRetain,
			VolumeBindingMode: storagev1.VolumeBindingWaitForFirstConsumer,
			VolumeExpansion:   v1alpha1.ExpansionRefused,
			MountOptions:      []string{"nconnect=4"},
		},
	}))
}
