package nfsbackend

import (
	"fmt"
	"iter"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/quantities"
)

const (
	reasonServing         = "Serving"
	reasonDeletionBlocked = "DeletionBlocked"
	reasonApplyFailed     = "ApplyFailed"
	reasonDeletionFailed  = "DeletionFailed"
	reasonDiskDeleted     = "DiskBeingDeleted"
	reasonPodFailing      = "PodFailing"
	reasonUpdating        = "Updating"
	reasonAddressLost     = "AddressLost"
	reasonDiskCannotGrow  = "DiskCannotGrow"
	reasonGrowingDisk     = "GrowingDisk"
	reasonDiskTaken       = "DiskTaken"
	reasonSeveralDisks    = "SeveralDisks"
	reasonDiskNotFree     = "DiskNotFree"
	reasonPaused          = "Paused"
	// reasonReleased says that the backend was empty when its servers were stopped for its deletion.
	reasonReleased          = "Released"
	reasonSettling          = "Settling"
	reasonHoldsData         = "HoldsData"
	reasonServerUnreachable = "ServerUnreachable"
	reasonPodMissing        = "PodMissing"
	reasonPodNotCreated     = "PodNotCreated"
	reasonNodeMissing       = "NodeMissing"
	reasonPodUnscheduled    = "PodUnscheduled"
	reasonPodWaiting        = "PodWaiting"
	reasonPodStarting       = "PodStarting"
	reasonAgentUnreachable  = "AgentUnreachable"
	reasonCreatingDisk      = "CreatingDisk"
	reasonWaitingForDisk    = "WaitingForDisk"
	reasonStoppingServers   = "StoppingServers"
	reasonNeverServed       = "NeverServed"
	reasonUnused            = "Unused"
	reasonEmpty             = "Empty"
	reasonAwaitingAuthority = "WaitingForCertificates"
)

// attentions are those of our own reasons; those of the agent are in package agentv1.
var attentions = map[string]agentv1.Attention{
	reasonDiskDeleted: agentv1.NeedsPerson, reasonAddressLost: agentv1.NeedsPerson, reasonDiskCannotGrow: agentv1.NeedsPerson,
	reasonDiskTaken: agentv1.NeedsPerson, reasonSeveralDisks: agentv1.NeedsPerson,

	reasonDeletionBlocked: agentv1.Watch, reasonDeletionFailed: agentv1.Watch, reasonApplyFailed: agentv1.Watch, reasonPodFailing: agentv1.Watch,
	reasonPodUnscheduled: agentv1.Watch, reasonPodNotCreated: agentv1.Watch, reasonNodeMissing: agentv1.Watch,
}

func attention(word string) agentv1.Attention { return max(attentions[word], agentv1.Attentions[word]) }

// needsPerson tells whether nothing goes on without a person.
func needsPerson(word string) bool { return attention(word) == agentv1.NeedsPerson }

// disklessReasons are those for which no claim may be made.
var disklessReasons = []string{reasonDiskTaken, reasonSeveralDisks, reasonDiskNotFree, reasonNodeMissing}

// summarize computes the status from what the pass has found. It reads no clock and no API.
func summarize(s *scope, err error) {
	setShards(s)
	setTotals(s)
	set := conditions.Setter{Conditions: &s.backend.Status.Conditions, Generation: s.backend.Generation}
	deleting := !s.backend.DeletionTimestamp.IsZero()
	if s.shards != nil && (s.judged || !deleting) {
		used, why := s.inUse()
		if s.released {
			used, why = false, reason{reasonReleased, "the servers were empty, and are stopped for the deletion"}
		}
		set.Set(v1alpha1.ConditionInUse, used, why.word, why.sentence)
	}
	if !s.external() {
		setUnprivileged(s, set)
	}
	switch {
	case s.judged:
		setDeletion(s, set)
	case !deleting: // one of a former deletion, which came with a backup's status, would let the next one go on unasked
		apimeta.RemoveStatusCondition(set.Conditions, v1alpha1.ConditionReleased)
	}
	setPaused(s, set)
	setReady(s, set, err)
	if s.paused {
		return // what was edited meanwhile is not in force
	}
	if err == nil {
		s.backend.Status.ObservedGeneration = s.backend.Generation
	}
}

// setDeletion remembers since when a backend that is being deleted has been empty, and that it was released: a server
// that was stopped cannot be asked again.
func setDeletion(s *scope, set conditions.Setter) {
	switch {
	case s.released:
		set.Set(v1alpha1.ConditionReleased, true, reasonReleased, "the servers were empty, and are stopped for the deletion")
	case s.empty:
		set.Set(v1alpha1.ConditionReleased, false, reasonSettling, "the servers are empty; they are stopped if they stay so")
	default:
		apimeta.RemoveStatusCondition(set.Conditions, v1alpha1.ConditionReleased)
	}
}

func setPaused(s *scope, set conditions.Setter) {
	if !s.paused {
		apimeta.RemoveStatusCondition(set.Conditions, v1alpha1.ConditionPaused)
		return
	}
	set.Set(v1alpha1.ConditionPaused, true, reasonPaused,
		"nothing is changed until the annotation "+meta.AnnotationPaused+" is taken off; the servers go on")
}

func setReady(s *scope, set conditions.Setter, err error) {
	switch {
	case err != nil && s.deleting:
		set.Progressing(reasonDeletionFailed, err.Error())
	case err != nil:
		set.Progressing(reasonApplyFailed, err.Error())
	case s.waiting != nil:
		set.Progressing(s.waiting.word, s.waiting.sentence)
	default:
		setReadyFromShards(s, set)
	}
}

func setReadyFromShards(s *scope, set conditions.Setter) {
	serving := fmt.Sprintf("%d of %d servers serve", s.serving(), len(s.shards))
	if s.external() {
		serving = externalServes(s)
	}
	if worst, name := s.worst(); worst != nil {
		message := fmt.Sprintf("%s: %s", name, worst.sentence)
		if len(s.shards) > 1 {
			message += "; " + serving
		}
		if needsPerson(worst.word) {
			set.Stalled(worst.word, message)
		} else {
			set.Progressing(worst.word, message)
		}
		return
	}
	switch outdated, now := s.outdated(); {
	case outdated > 0 && s.external():
		set.Progressing(reasonUpdating, "the agent is being replaced "+s.fromTo())
	case now > 0 && !s.paused:
		message := fmt.Sprintf("%d of %d servers are still to be updated %s", outdated, len(s.shards), s.fromTo())
		if s.updatesWhen != "" {
			message += ", when " + s.updatesWhen
		}
		set.Progressing(reasonUpdating, message)
	case outdated > 0:
		set.Ready(reasonServing, fmt.Sprintf("%s; %d are to be updated %s, %s", serving, outdated, s.fromTo(), s.awaits()))
	default:
		set.Ready(reasonServing, serving)
	}
}

func (s *scope) serving() int {
	serving := 0
	for _, shard := range s.shards {
		if shard.serving() {
			serving++
		}
	}
	return serving
}

// worst is what the summary is about when several servers have something: first what needs a person, then what does not
// serve.
func (s *scope) worst() (found *reason, shard string) {
	for _, stalls := range []bool{true, false} {
		for _, shard := range s.shards {
			if why := shard.ailment(); why != nil && needsPerson(why.word) == stalls {
				return why, shard.Name()
			}
		}
	}
	return nil, ""
}

func setShards(s *scope) {
	if s.shards == nil {
		return
	}
	s.backend.Status.Shards = nil
	for _, shard := range s.shards {
		s.backend.Status.Shards = append(s.backend.Status.Shards, shardStatus(shard))
	}
}

// shardStatus keeps what the agent said last when it cannot be asked.
func shardStatus(shard *shardState) v1alpha1.ShardStatus {
	status := shard.last
	status.Serving = shard.serving()
	status.ServerID = shard.ServerID
	status.Address = shard.Address
	why := deref(shard.ailment())
	status.Reason, status.Message = why.word, truncate(why.sentence)
	status.Outdated = shard.outdated
	if shard.agent != nil {
		status.Warnings = warnings(shard.agent.GetWarnings())
	}
	status.Node = ""
	if shard.pod != nil {
		status.Node = shard.pod.Spec.NodeName
	}
	agent := shard.agent
	if agent == nil || agent.GetServerId() == "" {
		return status
	}
	capacity := agent.GetCapacity()
	status.Version = agent.GetVersion()
	status.GaneshaVersion = agent.GetGaneshaVersion()
	status.MkfsOptions = agent.GetMkfsOptions()
	if total := capacity.GetTotalBytes(); total > 0 {
		step := roundingStep(total)
		status.Capacity = resource.NewQuantity(total, resource.BinarySI)
		status.Allocated = resource.NewQuantity(roundUp(capacity.GetAllocatedBytes(), step), resource.BinarySI)
		status.Available = resource.NewQuantity(capacity.GetAvailableBytes()/step*step, resource.BinarySI)
	}
	if unlimited(shard, agent.GetCapabilities()) { // what is free changes with each write, and some servers count it to the size
		status.Capacity = quantities.Steady(shard.last.Capacity, status.Capacity)
		status.Available = quantities.Steady(shard.last.Available, status.Available)
	}
	if !shard.serving() {
		return status // it may not have read its records yet
	}
	status.Trash = resource.NewQuantity(roundUp(agent.GetTrashBytes(), roundingStep(capacity.GetTotalBytes())), resource.BinarySI)
	status.Volumes, status.Snapshots = new(agent.GetVolumes()), new(agent.GetSnapshots())
	return status
}

// warnings keeps what the field accepts.
func warnings(all []string) []string {
	const most = 16
	var kept []string
	for _, w := range all[:min(len(all), most)] {
		kept = append(kept, truncate(w))
	}
	return kept
}

// roundingStep is the largest power of two below a thousandth of the disk, and at least a mebibyte. Without rounding,
// every byte that moves through the trash would be a write to the API.
func roundingStep(total int64) int64 {
	step := int64(1 << 20)
	for step*2 <= total/1000 {
		step *= 2
	}
	return step
}

func roundUp(value, step int64) int64 { return (value + step - 1) / step * step }

func setTotals(s *scope) {
	if s.shards == nil {
		return
	}
	setLimitations(s)
	s.backend.Status.ServingShards = fmt.Sprintf("%d/%d", s.serving(), len(s.shards))
	s.backend.Status.Version = commonVersion(s.backend.Status.Shards)
	var capacity, allocated, trash resource.Quantity
	var volumes, snapshots int32
	known := false
	for _, shard := range s.backend.Status.Shards {
		if shard.Capacity == nil {
			continue
		}
		known = true
		capacity.Add(*shard.Capacity)
		allocated.Add(deref(shard.Allocated))
		trash.Add(deref(shard.Trash))
		volumes += deref(shard.Volumes)
		snapshots += deref(shard.Snapshots)
	}
	if !known {
		return
	}
	status := &s.backend.Status
	status.Capacity = resource.NewQuantity(capacity.Value(), resource.BinarySI)
	status.Allocated = resource.NewQuantity(allocated.Value(), resource.BinarySI)
	status.Trash = resource.NewQuantity(trash.Value(), resource.BinarySI)
	status.Volumes, status.Snapshots = &volumes, &snapshots
	status.SpaceUsed = spaceUsed(s)
}

func commonVersion(shards []v1alpha1.ShardStatus) string {
	for _, shard := range shards {
		if shard.Version != shards[0].Version {
			return ""
		}
	}
	return shards[0].Version
}

func deref[T any](p *T) (value T) {
	if p != nil {
		value = *p
	}
	return value
}

// spaceUsed is that of the fullest disk. A level is left only five per cent below where it was entered, or user I/O at
// a threshold would be a stream of writes.
func spaceUsed(s *scope) v1alpha1.SpaceUsed {
	before, fullest := s.before.Status.SpaceUsed, int64(0)
	for _, shard := range s.shards {
		if capacity := shard.agent.GetCapacity(); capacity.GetTotalBytes() > 0 {
			fullest = max(fullest, capacity.GetUsedBytes()*100/capacity.GetTotalBytes())
		} else if shard.last.Capacity != nil {
			return before // one disk is not known at the moment
		}
	}
	switch {
	case fullest >= 95 || fullest >= 90 && before == v1alpha1.SpaceFull:
		return v1alpha1.SpaceFull
	case fullest >= 80 || fullest >= 75 && before != v1alpha1.SpaceNormal && before != "":
		return v1alpha1.SpaceHigh
	default:
		return v1alpha1.SpaceNormal
	}
}

// announce tells people of transitions, in the words of the condition.
func (r *Reconciler) announce(s *scope) {
	before, after := s.before.Status.Conditions, s.backend.Status.Conditions
	if !conditions.Changed(before, after, v1alpha1.ConditionReady) {
		return
	}
	ready := apimeta.FindStatusCondition(after, v1alpha1.ConditionReady)
	kind := corev1.EventTypeNormal
	if attention(ready.Reason) > agentv1.Passes {
		kind = corev1.EventTypeWarning
	}
	r.event(s, kind, ready.Reason, ready.Message)
}

func (r *Reconciler) event(s *scope, kind, word, sentence string) {
	r.Recorder.Eventf(s.backend, nil, kind, word, "Reconcile", "%s", truncate(sentence))
}

// truncate keeps a text below the 1,024 bytes that events and our status fields accept.
func truncate(text string) string {
	const most = 1000
	if len(text) > most {
		return text[:most]
	}
	return text
}

func objects(list client.ObjectList) iter.Seq[client.Object] {
	return func(yield func(client.Object) bool) {
		_ = apimeta.EachListItem(list, func(item runtime.Object) error {
			if obj, ok := item.(client.Object); ok {
				yield(obj)
			}
			return nil
		})
	}
}
