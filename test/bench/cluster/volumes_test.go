//go:build bench

package cluster

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

// TestManagerAmongVolumes measures the manager on a cluster that has many PersistentVolumes of the driver. They are written by
// hand, for the manager sees PersistentVolumes, not what they stand for.
func TestManagerAmongVolumes(t *testing.T) {
	const volumes, settle, runs = 5000, 30 * time.Second, 3
	c := newNamespace(t, "bench-volumes").client()
	ours := metav1.ListOptions{LabelSelector: "bench=volumes"}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
		defer cancel()
		if err := c.api.CoreV1().PersistentVolumes().DeleteCollection(ctx, metav1.DeleteOptions{}, ours); err != nil {
			t.Error(err)
		}
	})
	atOnce(volumes, func(i int) {
		volume := &corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("bench-%d", i), Labels: map[string]string{"bench": "volumes"}},
			Spec: corev1.PersistentVolumeSpec{
				Capacity:    corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")},
				AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
				PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: names.Driver, VolumeHandle: fmt.Sprintf("files/0/e-bench-%d", i)}},
			},
		}
		if _, err := c.api.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	})
	var resident []float64
	for range runs {
		time.Sleep(settle) // what the manager does about them, and what its garbage collector gives back
		resident = append(resident, c.usage(c.nodes()...)["manager"].rssMiB/2)
	}
	bench.Record(t, "manager_rss_mib_5000", "mean of both replicas, half a minute and more after 5,000 static PersistentVolumes were made", resident...)
}
