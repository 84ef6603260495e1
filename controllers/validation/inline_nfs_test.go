//go:build envtest

package validation

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

// TestInlineNFSVolumes tries config/inline-nfs: pods of a namespace that is not said to be trusted have no volume of type nfs.
func TestInlineNFSVolumes(t *testing.T) {
	c := testenv.Client(t)
	for _, namespace := range []*corev1.Namespace{
		{ObjectMeta: metav1.ObjectMeta{Name: "tenant"}},
		{ObjectMeta: metav1.ObjectMeta{Name: "trusted", Labels: map[string]string{"storage.nfs-operator.io/inline-nfs": "allowed"}}},
	} {
		if err := c.Create(t.Context(), namespace); err != nil {
			t.Fatal(err)
		}
	}
	for _, object := range testenv.ReadObjects(t, "config", "inline-nfs", "policy.yaml") {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Delete(context.Background(), object); err != nil {
				t.Error(err)
			}
		})
	}
	try := func(namespace string, volumes ...corev1.Volume) error {
		return c.Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: namespace},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "busybox"}}, Volumes: volumes},
		}, client.DryRunAll)
	}
	inline := corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.1", Path: "/"}}}
	claim := corev1.Volume{Name: "claim", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}
	var err error
	testenv.Await(t, func() bool {
		err = try("tenant", claim, inline)
		return err != nil
	})
	if !strings.Contains(err.Error(), "volume data is of type nfs") {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"a claim": try("tenant", claim), "no volume": try("tenant"), "a trusted namespace": try("trusted", inline),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
