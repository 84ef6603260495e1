package nfsbackend

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/meta"
	"github.com/nfs-operator/nfs-operator/controllers/internal/desired/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// shardState is one server: what is wanted of it, and what it is.
type shardState struct {
	// Shard is what the builders take; set by observe, ServerID, DiskID and InUse by askAgents.
	server.Shard
	// volume is the disk's PersistentVolume, nil until the claim is bound; set by observe.
	volume *corev1.PersistentVolume
	// service is nil where there is none; set by observe.
	service *corev1.Service
	// statefulSet and pod are nil where there is none; set by observe, statefulSet again by applyChildren.
	statefulSet *appsv1.StatefulSet
	pod         *corev1.Pod
	// deployment is what an external server's agent has in the place of a StatefulSet; set by observe.
	deployment *appsv1.Deployment
	// agent is its answer; nil when it could not be asked, and problem says why. Set by askAgents.
	agent   *agentv1.ServerStatus
	problem reason
	// trouble is what is wrong with a server's disk, address or configuration whether it serves or not, nil when nothing is.
	// Set by observe, checkShare, checkAddress and applyDisk.
	trouble *reason
	// silent is true for an external server whose agent has not had its share for silentFor; set by askAgents.
	silent bool
	// abandoned is true for a server that never worked and whose disk is kept, and for an external one that is silent, when nothing
	// in the cluster names it; set by judgeUnseen.
	abandoned bool
	// last is the status that was written before.
	last v1alpha1.ShardStatus
	// mistaken is true for an agent that serves another disk or share than the one that has the volumes; set by askAgents.
	mistaken bool
	// forgotten is the identity of a disk that a person has given up, empty when there is none; set by askAgents.
	forgotten string
	// outdated is whether the pod is not what the StatefulSet's template says; set by checkTemplate.
	outdated bool
}

func (s *shardState) serving() bool { return s.agent.GetServing() }

// mayServe is true as well for a server that could not be asked, and that Kubernetes finds ready: it may be us who cannot
// reach it.
func (s *shardState) mayServe() bool { return s.serving() || s.agent == nil && podReady(s.pod) }

func podReady(pod *corev1.Pod) bool {
	return pod != nil && slices.ContainsFunc(pod.Status.Conditions, func(condition corev1.PodCondition) bool {
		return condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue
	})
}

// ailment is what is wrong with the server, nil when nothing is.
func (s *shardState) ailment() *reason {
	switch {
	case s.trouble != nil && s.trouble.word != reasonGrowingDisk:
		return s.trouble
	case !s.serving():
		return &s.problem
	default:
		return s.trouble
	}
}

// podRan tells whether the pod's container runs or has run. One that was never scheduled, or has no image, has not.
func (s *shardState) podRan() bool {
	if s.pod == nil {
		return false
	}
	if s.pod.Status.Phase != corev1.PodPending && s.pod.Status.Phase != "" {
		return true
	}
	for _, container := range s.pod.Status.ContainerStatuses {
		if container.State.Running != nil || container.State.Terminated != nil || container.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}

// holdsData tells whether the shard has data that a deletion would lose, and says so. An agent that cannot be asked
// counts as holding data, unless no agent has ever been seen to serve from this disk and none runs there. So does one
// that does not serve: it may not have read its records yet.
func (s *shardState) holdsData() (bool, reason) {
	switch {
	case s.abandoned && s.External():
		return false, reason{reasonUnused, fmt.Sprintf(
			"%s cannot be asked, no PersistentVolume and no VolumeSnapshotContent names it, and what lies on the share stays there", s.Name())}
	case s.abandoned:
		return false, reason{reasonNeverServed, fmt.Sprintf("%s has never served, no PersistentVolume names it, and its disk is kept", s.Name())}
	case s.ServerID == "" && s.wouldLoseDisk() && !s.diskWasBlank():
		return true, reason{reasonHoldsData, fmt.Sprintf(
			"%s has never served, and nobody knows what is on its disk, which was not made for it and would be deleted: set deletionPolicy to Retain",
			s.Name())}
	case s.ServerID == "" && s.agent == nil && s.failsFromStart() && s.diskWasBlank():
		return false, reason{reasonNeverServed, fmt.Sprintf("%s has never served, and its disk was made for it", s.Name())}
	case s.ServerID == "" && s.agent == nil && s.podRan():
		return true, reason{reasonServerUnreachable, fmt.Sprintf(
			"%s has run, and cannot be asked what it holds: %s", s.Name(), s.problem.sentence)}
	case s.ServerID == "":
		return false, reason{reasonNeverServed, fmt.Sprintf("%s has never served", s.Name())}
	case !s.serving() && s.External():
		return true, reason{reasonServerUnreachable, fmt.Sprintf(
			"%s cannot be asked what it holds: %s. When it has been so for %.0f minutes, and no PersistentVolume and no VolumeSnapshotContent names it, a deletion waits no longer",
			s.Name(), s.problem.sentence, silentFor.Minutes())}
	case !s.serving():
		return true, reason{reasonServerUnreachable, fmt.Sprintf("%s cannot be asked what it holds: %s", s.Name(), s.problem.sentence)}
	}
	volumes, snapshots, archived := s.agent.GetVolumes(), s.agent.GetSnapshots(), s.agent.GetArchived()
	if volumes+snapshots+archived > 0 {
		return true, reason{reasonHoldsData, fmt.Sprintf("%s holds %d volumes, %d snapshots and %d archived volumes",
			s.Name(), volumes, snapshots, archived)}
	}
	if exports := s.agent.GetExports(); exports > 0 {
		return true, reason{reasonHoldsData, fmt.Sprintf("%s holds data in %d static exports", s.Name(), exports)}
	}
	return false, reason{reasonEmpty, fmt.Sprintf("%s holds no volume", s.Name())}
}

// inUse tells whether the backend may not be deleted.
func (s *scope) inUse() (bool, reason) {
	used, found := false, reason{reasonEmpty, "no server holds a volume"}
	for _, shard := range s.shards {
		holds, why := shard.holdsData()
		switch {
		case holds && (!used || why.word == reasonHoldsData): // what is known says more than what is not
			used, found = true, why
		case !holds && found.word == reasonEmpty && why.word != reasonEmpty: // it was not asked, and may go all the same
			found = why
		}
	}
	return used, found
}

// failsFromStart tells whether the server's container has ended with an error, and is not up.
func (s *shardState) failsFromStart() bool {
	if s.pod == nil {
		return false
	}
	for _, container := range s.pod.Status.ContainerStatuses {
		ended := cmp.Or(container.State.Terminated, container.LastTerminationState.Terminated)
		if container.Ready || ended == nil || ended.ExitCode == 0 {
			return false
		}
	}
	return len(s.pod.Status.ContainerStatuses) > 0
}

// diskWasBlank: a disk that was provisioned for this claim held nothing before, and no volume is ever placed on a server
// whose identity the manager has not noted. So nothing of a tenant's can be on it, even if an agent has formatted it.
func (s *shardState) diskWasBlank() bool {
	return s.Claim != nil && s.volume != nil && server.MadeFor(s.Claim, s.volume)
}

// wouldLoseDisk tells whether the disk would be deleted with the backend.
func (s *shardState) wouldLoseDisk() bool {
	return s.volume != nil && s.Backend.Spec.DeletionPolicy == v1alpha1.DeletionDelete &&
		server.FormerPolicy(s.volume) != corev1.PersistentVolumeReclaimRetain
}

// diskless tells whether no claim may be made: it would get another disk.
func (s *shardState) diskless() bool {
	return s.trouble != nil && slices.Contains(disklessReasons, s.trouble.word)
}

// checkAddress: a Service that somebody made anew has another address, of which no mount knows.
func (s *shardState) checkAddress() {
	if s.service == nil || s.service.Spec.ClusterIP == s.Address {
		return
	}
	if !s.InUse || s.External() { // nobody can have mounted from the former one
		s.Address = s.service.Spec.ClusterIP
		return
	}
	if s.diskless() {
		return // for which no claim may be made, and that says more
	}
	s.trouble = &reason{reasonAddressLost, fmt.Sprintf(
		"Service %s has the address %s, but nodes have mounted %s: delete the Service, and the operator makes it anew with the right one",
		s.Name(), s.service.Spec.ClusterIP, s.Address)}
}

func (s *shardState) checkTemplate() error {
	if s.misconfigured() {
		return nil // nothing is to come of it
	}
	hash, err := server.TemplateHash(s.Shard)
	s.outdated = s.pod != nil && s.pod.Annotations[meta.AnnotationTemplateHash] != hash
	return err
}

// podProblem says why the shard's pod does not run, as far as its status tells.
func (s *shardState) podProblem() reason {
	pod, whose := s.pod, "the server's"
	if s.External() {
		whose = "the agent's"
	}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Status == corev1.ConditionFalse {
			return reason{reasonPodUnscheduled, whose + " pod cannot be scheduled: " + condition.Message}
		}
	}
	for _, container := range pod.Status.ContainerStatuses {
		if failed := container.LastTerminationState.Terminated; failed != nil && failed.ExitCode != 0 && !container.Ready {
			// Without the texts of the moment, back-off times above all: each would be an event.
			return reason{reasonPodFailing, fmt.Sprintf(
				"%s container fails with exit code %d and is started again; the log of pod %s says why", whose, failed.ExitCode, pod.Name)}
		}
		if waiting := container.State.Waiting; waiting != nil && waiting.Reason != "" && waiting.Reason != "ContainerCreating" {
			return reason{reasonPodWaiting, fmt.Sprintf("%s container waits: %s: %s", whose, waiting.Reason, waiting.Message)}
		}
	}
	return reason{reasonPodStarting, whose + " pod starts"}
}

// podlessFor is how long a server may have no pod before people are sent to look for the cause. Kubernetes makes one within seconds.
const podlessFor = time.Minute

// notePod finds a pod that is refused. The words of the refusal are in an event alone, and a policy may have put a random name into them.
// What was said before a manager's restart stays said.
func (r *Reconciler) notePod(shard *shardState, now time.Time) {
	since := r.podless.note(shard.Name(), shard.pod == nil && shard.wantsPod(), now)
	waits := shard.problem.word == reasonPodMissing || shard.problem.word == reasonWaitingForDisk // for which a pod may be what is missing
	if since.IsZero() || !waits || now.Sub(since) < podlessFor && shard.last.Reason != reasonPodNotCreated {
		return
	}
	whose, look := "the server's", "describe statefulset "+shard.Name()
	if shard.External() {
		whose, look = "the agent's", "describe replicaset --selector "+names.LabelBackend+"="+shard.Backend.Name
	}
	shard.problem = reason{reasonPodNotCreated, fmt.Sprintf(
		"Kubernetes has not made %s pod: most likely namespace %s has lost its label pod-security.kubernetes.io/enforce: privileged, "+
			"or a quota or another policy refuses it; kubectl -n %[2]s %s says why", whose, shard.Namespace, look)}
}

// wantsPod tells whether Kubernetes was asked for a pod. A person may have scaled a server down, to repair its disk.
func (s *shardState) wantsPod() bool {
	return s.statefulSet != nil && deref(s.statefulSet.Spec.Replicas) > 0 || s.deployment != nil && deref(s.deployment.Spec.Replicas) > 0
}
