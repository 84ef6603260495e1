package storageprofile

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
)

const (
	reasonReady           = "Ready"
	reasonForeignClass    = "StorageClassNotOurs"
	reasonBackendMissing  = "BackendNotFound"
	reasonBackendNotReady = "BackendNotReady"
	reasonApplyFailed     = "ApplyFailed"
)

// summarize computes the status from what the pass has found.
func summarize(s *scope, err error) {
	status := &s.profile.Status
	set := conditions.Setter{Conditions: &status.Conditions, Generation: s.profile.Generation}
	if err != nil {
		set.Progressing(reasonApplyFailed, err.Error())
		return
	}
	status.ObservedGeneration = s.profile.Generation
	status.LargestVolume = largestVolume(s)
	status.StorageClassName = s.profile.Name
	if s.foreign != nil {
		status.StorageClassName = ""
		set.Stalled(reasonForeignClass, fmt.Sprintf(
			"StorageClass %s exists, of provisioner %s, and was not made from this profile: delete it, or give the profile another name",
			s.foreign.Name, s.foreign.Provisioner))
		return
	}
	setReadyFromBackend(s, set)
}

func setReadyFromBackend(s *scope, set conditions.Setter) {
	name := s.profile.Spec.BackendRef.Name
	if s.backend == nil {
		set.Progressing(reasonBackendMissing, fmt.Sprintf("NFSBackend %s does not exist", name))
		return
	}
	ready := apimeta.FindStatusCondition(s.backend.Status.Conditions, v1alpha1.ConditionReady)
	switch {
	case ready == nil:
		set.Progressing(reasonBackendNotReady, fmt.Sprintf("NFSBackend %s has just been made", name))
	case ready.Status != "True":
		set.Progressing(reasonBackendNotReady, fmt.Sprintf("NFSBackend %s is not ready: %s", name, ready.Message))
	default:
		set.Ready(reasonReady, fmt.Sprintf("claims of StorageClass %s get volumes on NFSBackend %s", s.profile.Name, name))
	}
}

// largestVolume is the most that one server can promise now: a volume lies on one server.
func largestVolume(s *scope) *resource.Quantity {
	if s.backend == nil {
		return nil
	}
	var largest *resource.Quantity
	for _, shard := range s.backend.Status.Shards {
		if shard.Serving && shard.Available != nil && (largest == nil || shard.Available.Cmp(*largest) > 0) {
			largest = shard.Available
		}
	}
	if limit := s.profile.Spec.MaxVolumeSize; largest != nil && limit != nil && largest.Cmp(*limit) > 0 {
		return limit
	}
	return largest
}

// announce tells people of transitions, in the words of the condition.
func (r *Reconciler) announce(s *scope) {
	before, after := s.before.Status.Conditions, s.profile.Status.Conditions
	if !conditions.Changed(before, after, v1alpha1.ConditionReady) {
		return
	}
	ready := apimeta.FindStatusCondition(after, v1alpha1.ConditionReady)
	kind := corev1.EventTypeNormal
	if ready.Reason == reasonForeignClass || ready.Reason == reasonApplyFailed {
		kind = corev1.EventTypeWarning
	}
	r.Recorder.Eventf(s.profile, nil, kind, ready.Reason, "Reconcile", "%s", ready.Message)
}
