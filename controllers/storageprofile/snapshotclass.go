package storageprofile

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/controllers/internal/snapshots"
)

// applySnapshotClass makes the class of snapshots where the cluster has their CRDs, and removes it where the profile
// wants none. One of that name that is not ours is never touched.
func (r *Reconciler) applySnapshotClass(ctx context.Context, s *scope) error {
	installed, err := snapshots.Installed(ctx, r.Client)
	if err != nil || !installed {
		return err
	}
	if r.watchSnapshotClasses != nil {
		if err := r.watchSnapshotClasses(ctx); err != nil {
			return err
		}
	}
	live := &unstructured.Unstructured{}
	live.SetGroupVersionKind(profile.SnapshotClassKind)
	err = r.Client.Get(ctx, client.ObjectKeyFromObject(s.profile), live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get VolumeSnapshotClass: %w", err)
	}
	wanted := s.profile.Spec.Snapshots.Class != v1alpha1.SnapshotClassNone && s.snapshotsPossible()
	if err != nil {
		live = nil
	} else if driver, _, _ := unstructured.NestedString(live.Object, "driver"); !ours(live, driver, s.profile.Name) {
		if wanted && s.foreign == nil {
			s.foreign = &foreign{
				kind: "VolumeSnapshotClass", name: live.GetName(), madeBy: driver,
				wayOut: "delete it, give the profile another name, or set snapshots.class to None",
			}
		}
		return nil
	}
	switch {
	case wanted:
		s.snapshotClass = true
		_, err := apply.Unstructured(ctx, r.Client, live, profile.SnapshotClass(s.profile))
		return err
	case live != nil:
		return apply.Delete(ctx, r.Client, live)
	}
	return nil
}

// snapshotsPossible tells whether volumes of the profile may have snapshots: on one of its backends they can be made, or
// there is none yet. What a share, or a file system that others have made, can do is known when it has been mounted.
func (s *scope) snapshotsPossible() bool {
	for _, backend := range s.backends {
		if !unknown(backend) && !slices.ContainsFunc(backend.Status.Limitations, isSnapshots) {
			return true
		}
	}
	return len(s.backends) == 0
}

func unknown(backend *v1alpha1.NFSBackend) bool {
	if backend.Spec.External != nil {
		return len(backend.Status.Limitations) == 0 // every share has some
	}
	mounted := backend.Spec.Server.Storage.VolumeClaimTemplate.VolumeMode == corev1.PersistentVolumeFilesystem
	return mounted && backend.Status.Capacity == nil
}

func isSnapshots(limitation v1alpha1.Limitation) bool {
	return limitation.Capability == v1alpha1.CapabilitySnapshots && !limitation.Partial
}
