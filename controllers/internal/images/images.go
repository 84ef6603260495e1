// Package images says which container images the operands run. It is the one place that names them.
package images

import (
	"os"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/version"
)

// Set is the images of one installation.
type Set struct {
	// Operator is this program on its own: the CSI controller and the CSI node plugin.
	Operator string
	// Server is this program beside NFS-Ganesha: the NFS servers.
	Server string
	// Provisioner, Resizer and Snapshotter are the official sidecars of the CSI controller.
	Provisioner string
	Resizer     string
	Snapshotter string
}

// FromEnvironment reads RELATED_IMAGE_*, which disconnected clusters and OLM set, over the defaults of this version.
func FromEnvironment() Set {
	return Set{
		Operator:    get("RELATED_IMAGE_NFS_OPERATOR", "ghcr.io/nfs-operator/nfs-operator:"+version.Version),
		Server:      get("RELATED_IMAGE_NFS_SERVER", "ghcr.io/nfs-operator/nfs-server:"+version.Version),
		Provisioner: get("RELATED_IMAGE_CSI_PROVISIONER", "registry.k8s.io/sig-storage/csi-provisioner:v6.3.0"),
		Resizer:     get("RELATED_IMAGE_CSI_RESIZER", "registry.k8s.io/sig-storage/csi-resizer:v2.3.0"),
		Snapshotter: get("RELATED_IMAGE_CSI_SNAPSHOTTER", "registry.k8s.io/sig-storage/csi-snapshotter:v8.7.0"),
	}
}

// With is the set with what an NFSDriver says in its place.
func (s Set) With(override v1alpha1.DriverImages) Set {
	for image, other := range map[*string]v1alpha1.ImageReference{
		&s.Operator: override.Operator, &s.Provisioner: override.Provisioner,
		&s.Resizer: override.Resizer, &s.Snapshotter: override.Snapshotter,
	} {
		if other != "" {
			*image = string(other)
		}
	}
	return s
}

func get(variable, fallback string) string {
	if image := os.Getenv(variable); image != "" {
		return image
	}
	return fallback
}
