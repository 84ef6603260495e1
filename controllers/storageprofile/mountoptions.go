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
func connectionOf(profile *v1alpha1.StorageProfile) mount.Connection {
	options, err := mount.MakeOptions("192.0.2.1", nil, profile.Spec.MountOptions) // an address stands for any
	if err != nil {
		return mount.Connection{} // the CRD's rules refuse such options
	}
	return mount.ConnectionOf(options.Data)
}

// disagree tells whether volumes of two profiles, mounted on one node from one server, cannot both have the connections that
// their mountOptions ask for.
func disagree(a, b *v1alpha1.StorageProfile) bool {
	if a.Name == b.Name || slices.Equal(a.Spec.MountOptions, b.Spec.MountOptions) {
		return false
	}
	one, other := connectionOf(a), connectionOf(b)
	return one.Version == other.Version && one != other
}

// shared is the first of some backends that a profile selects, too.
func shared(backends []*v1alpha1.NFSBackend, with *v1alpha1.StorageProfile) (name string, ok bool) {
	for _, backend := range backends {
		if with.Spec.Selects(backend.Name, backend.Labels) {
			return backend.Name, true
		}
	}
	return "", false
}

// findRivals notes the profiles of the same backends whose mountOptions ask for other connections.
func (r *Reconciler) findRivals(ctx context.Context, s *scope) error {
	profiles := &v1alpha1.StorageProfileList{}
	if err := r.Client.List(ctx, profiles, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list StorageProfiles: %w", err)
	}
	for i := range profiles.Items {
		other := &profiles.Items[i]
		if !other.DeletionTimestamp.IsZero() || !disagree(s.profile, other) {
			continue
		}
		if backend, ok := shared(s.backends, other); ok {
			s.rivals = append(s.rivals, fmt.Sprintf("StorageProfile %s on NFSBackend %s asks for %s", other.Name, backend, connectionOf(other).Shared()))
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
		"this profile's mountOptions ask for %s, but %s: a node's first mount from a server decides for all that it mounts from there. "+
			"Give all profiles of a backend the same nconnect, timeo and retrans",
		connectionOf(s.profile).Shared(), strings.Join(s.rivals[:min(len(s.rivals), describedProfiles)], ", ")))
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
		if !disagree(changed, other) {
			return false
		}
		_, ok := shared(selected, other)
		return ok
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
