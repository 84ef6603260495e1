package profile

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// SnapshotClassKind is the kind of classes of snapshots. Its CRD is the cluster's to install, so there may be none.
var SnapshotClassKind = schema.GroupVersionKind{Group: "snapshot.storage.k8s.io", Version: "v1", Kind: "VolumeSnapshotClass"}

// SnapshotClass is the class that VolumeSnapshots name. It has no parameters: what a snapshot of a volume may do is known
// by the volume.
func SnapshotClass(profile *v1alpha1.StorageProfile) *unstructured.Unstructured {
	labels := map[string]any{}
	for key, value := range generated(profile) {
		labels[key] = value
	}
	class := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{
			"name":   profile.Name,
			"labels": labels,
			"ownerReferences": []any{map[string]any{
				"apiVersion":         v1alpha1.GroupVersion.String(),
				"kind":               "StorageProfile",
				"name":               profile.Name,
				"uid":                string(profile.UID),
				"controller":         true,
				"blockOwnerDeletion": true,
			}},
		},
		"driver":         names.Driver,
		"deletionPolicy": profile.Spec.Snapshots.DeletionPolicy,
	}}
	class.SetGroupVersionKind(SnapshotClassKind)
	return class
}
