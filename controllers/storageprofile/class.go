package storageprofile

import (
	"context"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagev1ac "k8s.io/client-go/applyconfigurations/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// carryOwner owns the labels and annotations that other people had put on a class that was made again. It is not our
// own field owner, for the next apply would take them off.
const carryOwner = client.FieldOwner("nfs-operator-carried-over")

// applyClass makes the class, unless one of that name is there which is not ours.
func (r *Reconciler) applyClass(ctx context.Context, s *scope) error {
	live := &storagev1.StorageClass{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.profile), live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get StorageClass: %w", err)
	}
	exists := err == nil
	if exists && !ours(live, s.profile.Name) {
		s.foreign = live
		return nil
	}
	if exists && !live.DeletionTimestamp.IsZero() {
		return fmt.Errorf("StorageClass %s of an earlier StorageProfile is still being deleted", live.Name)
	}
	if exists && mustRecreate(live, s) {
		if err := r.recreate(ctx, s, live); err != nil {
			return err
		}
	}
	_, err = apply.Object(ctx, r.Client, &storagev1.StorageClass{}, profile.StorageClass(s.profile), storagev1ac.ExtractStorageClass)
	return err
}

// ours: label and owner reference are both put back, so either is enough.
func ours(class *storagev1.StorageClass, name string) bool {
	owner := metav1.GetControllerOf(class)
	owned := owner != nil && owner.Kind == "StorageProfile" && owner.Name == name
	return class.Provisioner == names.Driver && (owned || class.Labels[names.LabelProfile] == name)
}

// mustRecreate compares the fields that Kubernetes does not let be changed in place. The others are applied.
func mustRecreate(live *storagev1.StorageClass, s *scope) bool {
	spec := s.profile.Spec
	return live.ReclaimPolicy == nil || *live.ReclaimPolicy != spec.ReclaimPolicy ||
		live.VolumeBindingMode == nil || *live.VolumeBindingMode != spec.VolumeBindingMode ||
		!maps.Equal(live.Parameters, map[string]string{names.ParameterProfile: s.profile.Name})
}

// recreate replaces the class by one that carries what others had written on it, is-default-class above all. Claims
// that are waiting meanwhile are tried again by the provisioner.
func (r *Reconciler) recreate(ctx context.Context, s *scope, live *storagev1.StorageClass) error {
	err := r.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete StorageClass %s to make it again: %w", live.Name, err)
	}
	fresh := &storagev1.StorageClass{
		ObjectMeta:           metav1.ObjectMeta{Name: live.Name, Labels: live.Labels, Annotations: live.Annotations},
		Provisioner:          live.Provisioner,
		Parameters:           map[string]string{names.ParameterProfile: s.profile.Name},
		ReclaimPolicy:        &s.profile.Spec.ReclaimPolicy,
		VolumeBindingMode:    &s.profile.Spec.VolumeBindingMode,
		AllowVolumeExpansion: live.AllowVolumeExpansion,
		MountOptions:         live.MountOptions,
	}
	if err := r.Client.Create(ctx, fresh, carryOwner); err != nil {
		return fmt.Errorf("make StorageClass %s again: %w", live.Name, err)
	}
	r.Recorder.Eventf(s.profile, nil, corev1.EventTypeNormal, "StorageClassRecreated", "Reconcile",
		"Made StorageClass %s again: Kubernetes does not let reclaimPolicy and volumeBindingMode be changed in place. Existing PersistentVolumes keep their reclaim policy and mount options",
		live.Name)
	return nil
}
