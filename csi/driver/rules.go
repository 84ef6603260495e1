package driver

import (
	"context"
	"slices"
	"strings"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// What a StorageProfile allows its tenants is refused by an admission policy before it comes here. Here it is refused
// again, for policies can be missing or be late. Nothing that was made once is refused later.

// admit checks a new volume against its profile.
func (c *Controller) admit(ctx context.Context, r createVolume, p *v1alpha1.StorageProfile) error {
	allowed, err := c.catalog.NamespaceAllowed(ctx, p, r.claimNamespace)
	if err != nil {
		return err
	}
	if !allowed {
		return status.Errorf(codes.PermissionDenied, "allowedNamespaces of StorageProfile %q does not allow namespace %q: "+
			"choose another StorageClass, or ask whoever manages the profile", p.Name, r.claimNamespace)
	}
	if err := checkSize(r.bytes(p), p); err != nil {
		return err
	}
	return checkAccessModes(r.modes, p)
}

func checkSize(bytes int64, p *v1alpha1.StorageProfile) error {
	if least := p.Spec.MinVolumeSize; least != nil && bytes < least.Value() {
		return status.Errorf(codes.OutOfRange, "%d bytes are less than the minVolumeSize (%s) of StorageProfile %q: ask for more", bytes, least, p.Name)
	}
	if most := p.Spec.MaxVolumeSize; most != nil && bytes > most.Value() {
		return status.Errorf(codes.OutOfRange, "%d bytes are more than the maxVolumeSize (%s) of StorageProfile %q: ask for less", bytes, most, p.Name)
	}
	return nil
}

// claimModes are the access modes of claims that the sidecars ask for by CSI's.
var claimModes = map[csi.VolumeCapability_AccessMode_Mode]corev1.PersistentVolumeAccessMode{
	csi.VolumeCapability_AccessMode_SINGLE_NODE_WRITER:        corev1.ReadWriteOnce,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER:  corev1.ReadWriteOnce,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_SINGLE_WRITER: corev1.ReadWriteOncePod,
	csi.VolumeCapability_AccessMode_SINGLE_NODE_READER_ONLY:   corev1.ReadOnlyMany,
	csi.VolumeCapability_AccessMode_MULTI_NODE_READER_ONLY:    corev1.ReadOnlyMany,
	csi.VolumeCapability_AccessMode_MULTI_NODE_SINGLE_WRITER:  corev1.ReadWriteMany,
	csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER:   corev1.ReadWriteMany,
}

func checkAccessModes(modes []csi.VolumeCapability_AccessMode_Mode, p *v1alpha1.StorageProfile) error {
	if len(p.Spec.AccessModes) == 0 {
		return nil
	}
	for _, mode := range modes {
		if wanted := claimModes[mode]; !slices.Contains(p.Spec.AccessModes, wanted) {
			return invalid("accessModes of StorageProfile %q are %s, not %s: ask for one of them", p.Name, join(p.Spec.AccessModes), wanted)
		}
	}
	return nil
}

func join[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	return strings.Join(texts, ", ")
}

// profileOf is the profile that a volume was made from, or nil: profiles may be deleted.
func (c *Controller) profileOf(ctx context.Context, v *agentv1.Volume) (*v1alpha1.StorageProfile, error) {
	name := v.GetSpec().GetProfile()
	if name == "" {
		return nil, nil
	}
	p, err := c.catalog.Profile(ctx, name)
	if isNotFound(err) {
		return nil, nil
	}
	return p, err
}
