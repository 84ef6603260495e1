package nfsbackend

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/apply"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// observeHostVolume finds the PersistentVolume of a device of storage.hosts, or what is needed to make it.
func (r *Reconciler) observeHostVolume(ctx context.Context, shard *shardState) error {
	volume, err := find(ctx, r.Uncached, client.ObjectKey{Name: shard.Name()}, &corev1.PersistentVolume{})
	if err != nil {
		return err
	}
	if volume != nil {
		if volume.Labels[names.LabelBackend] != shard.Backend.Name {
			shard.trouble = &reason{reasonDiskTaken, fmt.Sprintf(
				"there is a PersistentVolume %s that is not ours: delete or rename it", volume.Name)}
			return nil
		}
		shard.volume, shard.Hostname = volume, server.HostnameOf(volume)
		return nil
	}
	node, err := find(ctx, r.Uncached, client.ObjectKey{Name: shard.Host().Node}, &corev1.Node{})
	if err != nil {
		return err
	}
	if node == nil {
		shard.trouble = &reason{reasonNodeMissing, fmt.Sprintf("there is no node %s, which storage.hosts names", shard.Host().Node)}
		return nil
	}
	shard.Hostname = orElse(node.Labels[corev1.LabelHostname], node.Name)
	return nil
}

// observeAdoptable looks for the disk of a former backend of this name, whose claim is gone. PersistentVolumes keep our
// labels for this.
func (r *Reconciler) observeAdoptable(ctx context.Context, shard *shardState) error {
	volumes := &corev1.PersistentVolumeList{}
	if err := r.Client.List(ctx, volumes, client.MatchingLabels(meta.Shard(shard.Backend.Name, shard.Number))); err != nil {
		return fmt.Errorf("list PersistentVolumes: %w", err)
	}
	var found []string
	for i := range volumes.Items {
		volume := &volumes.Items[i]
		if shard.Claim == nil && volume.Status.Phase == corev1.VolumeBound { // most likely for a moment only: its claim was just deleted
			shard.Adopted = volume // for the identity that it notes
			shard.trouble = &reason{reasonDiskNotFree, fmt.Sprintf(
				"PersistentVolume %s, the disk of %s, is still bound to a claim that is gone or elsewhere: if it shall not be used again, take the label %s off it",
				volume.Name, shard.Name(), names.LabelBackend)}
			return nil
		}
		if shard.Claim != nil && shard.Claim.Spec.VolumeName != volume.Name || !adoptable(volume) {
			continue
		}
		found = append(found, volume.Name)
		shard.Adopted = volume
	}
	if len(found) > 1 {
		slices.Sort(found)
		shard.Adopted = nil
		shard.trouble = &reason{reasonSeveralDisks, fmt.Sprintf(
			"the PersistentVolumes %s are all labelled as the disk of %s: take the label %s off those that it shall not use",
			strings.Join(found, ", "), shard.Name(), names.LabelBackend)}
	}
	return nil
}

// adoptable is a disk that belongs to no claim: its last one is gone, or it was taken off it.
func adoptable(volume *corev1.PersistentVolume) bool {
	return volume.DeletionTimestamp.IsZero() && volume.Status.Phase != corev1.VolumeBound && volume.Status.Phase != corev1.VolumeFailed
}

// applyDisk looks after the claim of the disk and its PersistentVolume.
func (r *Reconciler) applyDisk(ctx context.Context, shard *shardState) error {
	if shard.External() || shard.diskless() {
		return nil
	}
	if shard.Host() != nil {
		if err := applyVolume(ctx, r.Client, server.HostVolume(shard.Shard)); err != nil {
			return err
		}
	}
	if err := r.forget(ctx, shard); err != nil {
		return err
	}
	if err := r.freeForClaim(ctx, shard); err != nil {
		return err
	}
	if err := r.applyClaim(ctx, shard); err != nil {
		return err
	}
	if shard.volume == nil || shard.Host() != nil {
		return nil
	}
	return applyVolume(ctx, r.Client, server.ProtectedVolume(shard.Shard, shard.volume))
}

func applyVolume(ctx context.Context, c client.Client, volume *corev1ac.PersistentVolumeApplyConfiguration) error {
	_, err := apply.Object(ctx, c, &corev1.PersistentVolume{}, volume, corev1ac.ExtractPersistentVolume)
	return err
}

// freeForClaim makes a disk ready for a new claim: Kubernetes binds one again that was bound before only when the uid of
// the claim that is gone has been taken out.
func (r *Reconciler) freeForClaim(ctx context.Context, shard *shardState) error {
	disk := shard.Adopted
	if shard.Host() != nil {
		disk = shard.volume
	}
	if disk == nil || disk.Spec.ClaimRef == nil || disk.Status.Phase == corev1.VolumeBound {
		return nil
	}
	ref := disk.Spec.ClaimRef
	if shard.Claim != nil && ref.UID == shard.Claim.UID || ref.UID == "" && ref.Namespace == r.Namespace && ref.Name == shard.ClaimName() {
		return nil
	}
	patch := fmt.Appendf(nil, `{"metadata":{"resourceVersion":%q},"spec":{"claimRef":{"namespace":%q,"name":%q,"uid":null,"resourceVersion":null}}}`,
		disk.ResourceVersion, r.Namespace, shard.ClaimName())
	if err := r.Client.Patch(ctx, disk.DeepCopy(), client.RawPatch(types.MergePatchType, patch)); err != nil {
		return fmt.Errorf("reserve PersistentVolume %s for claim %s: %w", disk.Name, shard.ClaimName(), err)
	}
	return nil
}

// applyClaim tries to grow the claim. A refusal is told, and is no reason to leave the rest of the server alone.
func (r *Reconciler) applyClaim(ctx context.Context, shard *shardState) error {
	write := func() error {
		_, err := apply.Object(ctx, r.Client, &corev1.PersistentVolumeClaim{}, server.Claim(shard.Shard), corev1ac.ExtractPersistentVolumeClaim)
		return err
	}
	if shard.Claim == nil {
		return write()
	}
	wanted, live := shard.Size(), shard.Claim.Spec.Resources.Requests[corev1.ResourceStorage]
	err := write()
	if wanted.Cmp(live) > 0 && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err)) {
		word := reasonDiskCannotGrow
		if shard.Claim.Status.Phase != corev1.ClaimBound {
			word = reasonWaitingForDisk
		}
		if shard.trouble == nil { // a lost address is worse
			shard.trouble = &reason{word, fmt.Sprintf(
				"the disk cannot grow from %s to %s: %s", live.String(), wanted.String(), apiMessage(err))}
		}
		shard.KeepSize = true
		return write()
	}
	if err == nil {
		shard.noteGrowth()
	}
	return err
}

// noteGrowth says that a disk is on its way to the size that was asked for, and what the growth waits for.
func (s *shardState) noteGrowth() {
	wanted, have := s.Size(), s.Claim.Status.Capacity[corev1.ResourceStorage]
	if s.Host() != nil || have.IsZero() || have.Cmp(wanted) >= 0 || s.trouble != nil {
		return
	}
	sentence := fmt.Sprintf("the disk grows from %s to %s", have.String(), wanted.String())
	for _, condition := range s.Claim.Status.Conditions {
		failed := condition.Type == corev1.PersistentVolumeClaimControllerResizeError || condition.Type == corev1.PersistentVolumeClaimNodeResizeError
		if failed && condition.Status == corev1.ConditionTrue {
			sentence += ": " + condition.Message
		}
	}
	s.trouble = &reason{reasonGrowingDisk, sentence}
}

// applyService makes the Service with the address that mounts know. It never gives a server another one.
func (r *Reconciler) applyService(ctx context.Context, shard *shardState) error {
	if shard.service != nil && shard.service.Spec.ClusterIP != shard.Address {
		return nil // checkAddress has told; the field is immutable
	}
	_, err := apply.Object(ctx, r.Client, &corev1.Service{}, server.Service(shard.Shard), corev1ac.ExtractService)
	if err != nil && shard.service == nil && shard.Address != "" && apierrors.IsInvalid(err) {
		if shard.diskless() {
			return nil
		}
		if shard.External() { // nobody has mounted from it
			shard.Address = ""
			return r.applyService(ctx, shard)
		}
		shard.trouble = &reason{reasonAddressLost, fmt.Sprintf(
			"the address %s, which nodes have mounted, cannot be had for Service %s: find the Service that has it (kubectl get services --all-namespaces) and delete it; docs/backends.md says what else can be done",
			shard.Address, shard.Name())}
		return nil
	}
	return err
}

// apiMessage is what the API server said, without our own words around it.
func apiMessage(err error) string {
	var answer apierrors.APIStatus
	if errors.As(err, &answer) {
		return answer.Status().Message
	}
	return err.Error()
}
