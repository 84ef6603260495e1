package server

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
)

// hostSize is what the PersistentVolume of a device and its claim say. Nobody knows the device's size before its agent
// has opened it, the binding compares only these two, and the status says what the device really holds.
var hostSize = resource.MustParse("1Gi")

// HostVolume is the local PersistentVolume of a device that storage.hosts names. It is ours as a whole: nobody else
// provisions it, and nobody deletes what is on it.
func HostVolume(s Shard) *corev1ac.PersistentVolumeApplyConfiguration {
	host := s.Host()
	node := corev1ac.NodeSelectorRequirement().
		WithKey(corev1.LabelHostname).WithOperator(corev1.NodeSelectorOpIn).WithValues(s.Hostname)
	volume := corev1ac.PersistentVolume(s.Name()).
		WithLabels(s.Labels()).
		WithAnnotations(map[string]string{meta.AnnotationReclaimPolicy: string(corev1.PersistentVolumeReclaimRetain)}).
		WithSpec(corev1ac.PersistentVolumeSpec().
			WithCapacity(corev1.ResourceList{corev1.ResourceStorage: hostSize}).
			WithAccessModes(corev1.ReadWriteOnce).
			WithVolumeMode(corev1.PersistentVolumeBlock).
			WithPersistentVolumeReclaimPolicy(corev1.PersistentVolumeReclaimRetain).
			WithLocal(corev1ac.LocalVolumeSource().WithPath(host.Device)).
			WithNodeAffinity(corev1ac.VolumeNodeAffinity().WithRequired(
				corev1ac.NodeSelector().WithNodeSelectorTerms(corev1ac.NodeSelectorTerm().WithMatchExpressions(node)))).
			// Reserved for our claim; its uid is filled in by the binding.
			WithClaimRef(corev1ac.ObjectReference().
				WithAPIVersion("v1").WithKind("PersistentVolumeClaim").
				WithNamespace(s.Namespace).WithName(s.ClaimName())))
	if s.DiskID != "" {
		volume.WithAnnotations(map[string]string{meta.AnnotationServerID: s.DiskID})
	}
	return volume
}

// HostnameOf reads back from a HostVolume the label's value that it was made with: the affinity is immutable.
func HostnameOf(volume *corev1.PersistentVolume) string {
	if affinity := volume.Spec.NodeAffinity; affinity != nil && affinity.Required != nil {
		for _, term := range affinity.Required.NodeSelectorTerms {
			for _, expression := range term.MatchExpressions {
				if expression.Key == corev1.LabelHostname && len(expression.Values) == 1 {
					return expression.Values[0]
				}
			}
		}
	}
	return ""
}
