package storageprofile

import (
	"fmt"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
	"github.com/nfs-operator/nfs-operator/controllers/internal/quantities"
)

const (
	reasonReady                = "Ready"
	reasonForeignClass         = "StorageClassNotOurs"
	reasonForeignSnapshotClass = "VolumeSnapshotClassNotOurs"
	reasonBackendMissing       = "BackendNotFound"
	reasonBackendNotReady      = "BackendNotReady"
	reasonNoSpace              = "NoSpace"
	reasonApplyFailed          = "ApplyFailed"
)

// summarize computes the status from what the pass has found.
func summarize(s *scope, err error) {
	status := &s.profile.Status
	set := conditions.Setter{Conditions: &status.Conditions, Generation: s.profile.Generation}
	if err != nil {
		set.Progressing(reasonApplyFailed, err.Error())
		return
	}
	room := roomOf(s)
	status.ObservedGeneration = s.profile.Generation
	status.Backends = fmt.Sprintf("%d/%d", room.backends, len(s.backends))
	status.Available, status.LargestVolume = quantities.Steady(status.Available, room.sum), quantities.Steady(status.LargestVolume, room.largest)
	setMountOptions(s, set)
	status.StorageClassName, status.VolumeSnapshotClassName = s.profile.Name, ""
	if s.snapshotClass {
		status.VolumeSnapshotClassName = s.profile.Name
	}
	if s.foreign != nil {
		setForeign(s, set)
		return
	}
	setReadyFromBackends(s, set, room)
}

func setForeign(s *scope, set conditions.Setter) {
	reason := reasonForeignSnapshotClass
	if s.foreign.kind == "StorageClass" {
		reason, s.profile.Status.StorageClassName = reasonForeignClass, ""
	}
	set.Stalled(reason, fmt.Sprintf("%s %s exists, of %s, and was not made from this profile: %s",
		s.foreign.kind, s.foreign.name, s.foreign.madeBy, s.foreign.wayOut))
}

func setReadyFromBackends(s *scope, set conditions.Setter, room room) {
	switch {
	case len(s.backends) == 0 && s.profile.Spec.BackendSelector != nil:
		set.Progressing(reasonBackendMissing, fmt.Sprintf("no NFSBackend has the labels %s", s.profile.Spec.BackendSelector))
	case len(s.backends) == 0:
		set.Progressing(reasonBackendMissing, fmt.Sprintf("NFSBackend %s does not exist", s.profile.Spec.BackendRef.Name))
	case room.backends > 0:
		message := fmt.Sprintf("claims of StorageClass %s get volumes on %d of %d NFSBackends", s.profile.Name, room.backends, len(s.backends))
		if len(s.backends) == 1 {
			message = fmt.Sprintf("claims of StorageClass %s get volumes on NFSBackend %s", s.profile.Name, s.backends[0].Name)
		}
		set.Ready(reasonReady, message+lacks(s.backends))
	case room.full > 0:
		set.Stalled(reasonNoSpace, noSpace(s, room))
	default:
		set.Progressing(reasonBackendNotReady, notReady(s.backends))
	}
}

// lacks says what the backends cannot do, each of them or some.
func lacks(backends []*v1alpha1.NFSBackend) string {
	var texts []string
	for _, backend := range backends {
		var capabilities []string
		for _, limitation := range backend.Status.Limitations {
			where := ""
			if limitation.Partial {
				where = " on some of its servers"
			}
			capabilities = append(capabilities, limitation.Capability+where)
		}
		if len(capabilities) > 0 && len(texts) < describedBackends {
			texts = append(texts, fmt.Sprintf("; NFSBackend %s lacks %s (its status says why)", backend.Name, strings.Join(capabilities, ", ")))
		}
	}
	return strings.Join(texts, "")
}

func noSpace(s *scope, room room) string {
	message := fmt.Sprintf("no server of %d serving NFSBackends has room for another volume", room.full)
	if least := s.profile.Spec.MinVolumeSize; least != nil {
		message += " of " + least.String()
	}
	return message + ": delete volumes or snapshots, let a backend grow, or add one"
}

// describedBackends is how many backends a message names.
const describedBackends = 4

func notReady(backends []*v1alpha1.NFSBackend) string {
	var texts []string
	for _, backend := range backends[:min(len(backends), describedBackends)] {
		ready := apimeta.FindStatusCondition(backend.Status.Conditions, v1alpha1.ConditionReady)
		switch {
		case !backend.DeletionTimestamp.IsZero():
			texts = append(texts, fmt.Sprintf("NFSBackend %s is being deleted", backend.Name))
		case ready == nil:
			texts = append(texts, fmt.Sprintf("NFSBackend %s has just been made", backend.Name))
		default:
			texts = append(texts, fmt.Sprintf("NFSBackend %s is not ready: %s", backend.Name, ready.Message))
		}
	}
	if rest := len(backends) - len(texts); rest > 0 {
		texts = append(texts, fmt.Sprintf("%d more are not ready", rest))
	}
	return strings.Join(texts, "; ")
}

// room is what new volumes of a profile can get.
type room struct {
	// backends can take a volume; full ones serve and have no room for one.
	backends, full int
	// sum over all servers, and the most that one can promise: a volume lies on one server. nil where no server says.
	sum, largest *resource.Quantity
}

func roomOf(s *scope) room {
	var total room
	for _, backend := range s.backends {
		if !backend.DeletionTimestamp.IsZero() {
			continue
		}
		switch serving, takes := total.add(backend, s.profile.Spec.MinVolumeSize); {
		case takes:
			total.backends++
		case serving:
			total.full++
		}
	}
	if limit := s.profile.Spec.MaxVolumeSize; total.largest != nil && limit != nil && total.largest.Cmp(*limit) > 0 {
		total.largest = limit
	}
	return total
}

// add counts the servers of a backend.
func (r *room) add(backend *v1alpha1.NFSBackend, least *resource.Quantity) (serving, takes bool) {
	for _, shard := range backend.Status.Shards {
		if !shard.Serving {
			continue
		}
		serving = true
		if shard.Available == nil {
			continue
		}
		if r.sum == nil {
			r.sum = &resource.Quantity{Format: resource.BinarySI}
		}
		r.sum.Add(*shard.Available)
		if r.largest == nil || shard.Available.Cmp(*r.largest) > 0 {
			r.largest = shard.Available
		}
		takes = takes || shard.Available.Sign() > 0 && (least == nil || shard.Available.Cmp(*least) >= 0)
	}
	return serving, takes
}
