package storageprofile

import (
	"context"
	"fmt"
	"slices"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

const reasonSharedConnection = "SharedConnection"

// connectionOf is what of a profile's mountOptions a node decides once for all its mounts of one server and version of NFS.
func connectionOf(profile *v1alpha1.StorageProfile, backend *v1alpha1.NFSBackend) mount.Connection {
	var common []string
	if backend.Spec.External != nil {
		common = backend.Spec.External.MountOptions
	}
	options, err := mount.MakeOptions("192.0.2.1", common, profile.Spec.MountOptions) // an address stands for any
	if err != nil {
		return mount.Connection{} // the CRD's rules refuse such options
	}
	return mount.ConnectionOf(options.Data)
}

// rivalry is the first of some backends from which a node cannot mount volumes of two profiles with the connections that each asks for.
func rivalry(backends []*v1alpha1.NFSBackend, a, b *v1alpha1.StorageProfile) (backend *v1alpha1.NFSBackend, differ bool) {
	if a.Name == b.Name || slices.Equal(a.Spec.MountOptions, b.Spec.MountOptions) {
		return nil, false
	}
	for _, backend := range backends {
		if !b.Spec.Selects(backend.Name, backend.Labels) {
			continue
		}
		if one, other := connectionOf(a, backend), connectionOf(b, backend); one.Version == other.Version && one != other {
			return backend, true
		}
	}
	return nil, false
}

// findRivals notes the profiles of the same backends whose mountOptions ask for other connections.
func (r *Reconciler) findRivals(ctx context.Context, s *scope) error {
	profiles := &v1alpha1.StorageProfileList{}
	if err := r.Client.List(ctx, profiles, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list StorageProfiles: %w", err)
	}
	for i := range profiles.Items {
		other := &profiles.Items[i]
		if !other.DeletionTimestamp.IsZero() {
			continue
		}
		if backend, differ := rivalry(s.backends, s.profile, other); differ {
			s.rivals = append(s.rivals, fmt.Sprintf("on NFSBackend %s this profile's mountOptions ask for %s, and those of StorageProfile %s for %s",
				backend.Name, connectionOf(s.profile, backend).Shared(), other.Name, connectionOf(other, backend).Shared()))
		}
	}
	slices.Sort(s.rivals)
	return nil
}

// setMountOptions says with a condition that profiles disagree; it is absent otherwise.
func setMountOptions(s *scope, set conditions.Setter) {
	if len(s.rivals) == 0 {
		apimeta.RemoveStatusCondition(set.Conditions, v1alpha1.ConditionMountOptionsDiffer)
		return
	}
	set.Set(v1alpha1.ConditionMountOptionsDiffer, true, reasonSharedConnection, fmt.Sprintf(
		"%s: a node's first mount from a server decides for all that it mounts from there. Give all profiles of a backend the same nconnect, timeo and retrans",
		strings.Join(s.rivals[:min(len(s.rivals), describedProfiles)], "; ")))
}

// describedProfiles is how many other profiles a message names.
const describedProfiles = 4

// rivalsOf are the profiles that may have to say, or to say no longer, that they disagree with one that has changed.
func (r *Reconciler) rivalsOf(ctx context.Context, obj client.Object) []ctrl.Request {
	changed := obj.(*v1alpha1.StorageProfile)
	backends := &v1alpha1.NFSBackendList{}
	if err := r.Client.List(ctx, backends, client.UnsafeDisableDeepCopy); err != nil {
		log.FromContext(ctx).Error(err, "Cannot list NFSBackends")
		return nil
	}
	selected := selectedBy(changed, backends)
	return r.listIf(ctx, func(other *v1alpha1.StorageProfile) bool {
		_, differ := rivalry(selected, changed, other)
		return differ
	})
}

// selectedBy are those of the backends that the profile selects.
func selectedBy(profile *v1alpha1.StorageProfile, all *v1alpha1.NFSBackendList) []*v1alpha1.NFSBackend {
	var selected []*v1alpha1.NFSBackend
	for i := range all.Items {
		if backend := &all.Items[i]; profile.Spec.Selects(backend.Name, backend.Labels) {
			selected = append(selected, backend)
		}
	}
	return selected
}
