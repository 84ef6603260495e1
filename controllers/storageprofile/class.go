package storageprofile

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1ac "k8s.io/client-go/applyconfigurations/meta/v1"
	storagev1ac "k8s.io/client-go/applyconfigurations/storage/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/profile"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// carryOwner owns the labels and annotations that other people had put on a class that was made again. It is not our
// own field owner, for the next apply would take them off.
const carryOwner = client.FieldOwner("nfs-operator-carried-over")

// What is carried over is bounded, for it passes through the profile's status.
const (
	maxCarried      = 64
	maxCarriedBytes = 4096
)

// applyClass makes the class, unless one of that name is there which is not ours.
func (r *Reconciler) applyClass(ctx context.Context, s *scope) error {
	live := &storagev1.StorageClass{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(s.profile), live)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("get StorageClass: %w", err)
	}
	exists := err == nil
	if exists && !ours(live, live.Provisioner, s.profile.Name) {
		s.foreign = &foreign{
			kind: "StorageClass", name: live.Name, madeBy: live.Provisioner,
			wayOut: "delete it, or give the profile another name",
		}
		return nil
	}
	if exists && !live.DeletionTimestamp.IsZero() {
		return fmt.Errorf("StorageClass %s of an earlier StorageProfile is still being deleted", live.Name)
	}
	if exists && mustRecreate(live, s) {
		if err := r.remove(ctx, s, live); err != nil {
			return err
		}
		exists = false
	}
	_, err = apply.Object(ctx, r.Client, &storagev1.StorageClass{}, profile.StorageClass(s.profile), storagev1ac.ExtractStorageClass)
	if err != nil || s.profile.Status.CarriedOver == nil {
		return err
	}
	return r.carryOver(ctx, s, live, exists)
}

// ours: label and owner reference are both put back, so either is enough.
func ours(class client.Object, driver, profile string) bool {
	owner := metav1.GetControllerOf(class)
	owned := owner != nil && owner.Kind == "StorageProfile" && owner.Name == profile
	return driver == names.Driver && (owned || class.GetLabels()[names.LabelProfile] == profile)
}

// mustRecreate compares the fields that Kubernetes does not let be changed in place. The others are applied.
func mustRecreate(live *storagev1.StorageClass, s *scope) bool {
	spec := s.profile.Spec
	return live.ReclaimPolicy == nil || *live.ReclaimPolicy != spec.ReclaimPolicy ||
		live.VolumeBindingMode == nil || *live.VolumeBindingMode != spec.VolumeBindingMode ||
		!maps.Equal(live.Parameters, map[string]string{names.ParameterProfile: s.profile.Name})
}

// remove deletes the class to make it again. Before that, it makes sure that the new one will be accepted, whatever
// other policies the cluster has, and writes down what people had put on the old one, is-default-class above all: this
// manager may end at any moment. Claims that are waiting meanwhile are tried again by the provisioner.
func (r *Reconciler) remove(ctx context.Context, s *scope, live *storagev1.StorageClass) error {
	trial := &storagev1.StorageClass{
		ObjectMeta:        metav1.ObjectMeta{GenerateName: live.Name + "-", Labels: live.Labels, Annotations: live.Annotations},
		Provisioner:       names.Driver,
		Parameters:        map[string]string{names.ParameterProfile: s.profile.Name},
		ReclaimPolicy:     &s.profile.Spec.ReclaimPolicy,
		VolumeBindingMode: &s.profile.Spec.VolumeBindingMode,
		MountOptions:      s.profile.Spec.MountOptions,
	}
	if err := r.Client.Create(ctx, trial, client.DryRunAll); err != nil {
		return fmt.Errorf("StorageClass %s must be made again, and stays, because the new one would be refused: %w", live.Name, err)
	}
	carried, err := carriedOver(live)
	if err != nil {
		return err
	}
	s.profile.Status.CarriedOver = carried
	if err := apply.Status(ctx, r.Client, s.before, s.profile); err != nil {
		return fmt.Errorf("write down what StorageClass %s carries: %w", live.Name, err)
	}
	s.before = s.profile.DeepCopy()
	err = r.Client.Delete(ctx, live, client.Preconditions{UID: &live.UID, ResourceVersion: &live.ResourceVersion})
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete StorageClass %s to make it again: %w", live.Name, err)
	}
	return nil
}

// carriedOver is what is on the class and was not applied by us.
func carriedOver(live *storagev1.StorageClass) (*v1alpha1.CarriedOver, error) {
	applied, err := storagev1ac.ExtractStorageClass(live, names.FieldOwner)
	if err != nil {
		return nil, fmt.Errorf("read what was applied to StorageClass %s: %w", live.Name, err)
	}
	own := applied.ObjectMetaApplyConfiguration
	if own == nil {
		own = &metav1ac.ObjectMetaApplyConfiguration{}
	}
	return &v1alpha1.CarriedOver{
		UID:         string(live.UID),
		Labels:      without(live.Labels, own.Labels),
		Annotations: without(live.Annotations, own.Annotations),
	}, nil
}

func without(all, own map[string]string) map[string]string {
	rest := map[string]string{}
	for _, key := range slices.Sorted(maps.Keys(all)) {
		if _, isOwn := own[key]; !isOwn && len(rest) < maxCarried && len(all[key]) <= maxCarriedBytes {
			rest[key] = all[key]
		}
	}
	return rest
}

// carryOver puts on the new class what was on the old one. Where the old one was not deleted after all, there is nothing
// to do.
func (r *Reconciler) carryOver(ctx context.Context, s *scope, live *storagev1.StorageClass, exists bool) error {
	carried := s.profile.Status.CarriedOver
	if !exists || string(live.UID) != carried.UID {
		class := storagev1ac.StorageClass(s.profile.Name).
			WithLabels(carried.Labels).
			WithAnnotations(without(carried.Annotations, profile.StorageClass(s.profile).Annotations))
		if len(carried.Labels)+len(carried.Annotations) > 0 {
			if err := r.Client.Apply(ctx, class, carryOwner, client.ForceOwnership); err != nil {
				return fmt.Errorf("carry over what was on StorageClass %s: %w", s.profile.Name, err)
			}
		}
		r.Recorder.Eventf(s.profile, nil, corev1.EventTypeNormal, "StorageClassRecreated", "Reconcile",
			"Made StorageClass %s again: Kubernetes does not let reclaimPolicy and volumeBindingMode be changed in place. Existing PersistentVolumes keep their reclaim policy and mount options",
			s.profile.Name)
	}
	s.profile.Status.CarriedOver = nil
	return nil
}
