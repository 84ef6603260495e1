package nfsdriver

import (
	"fmt"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
	"github.com/nfs-operator/nfs-operator/internal/version"
)

const (
	reasonRunning         = "Running"
	reasonNotNeeded       = "NotNeeded"
	reasonRollingOut      = "RollingOut"
	reasonConflict        = "CSIDriverNotOurs"
	reasonDeletionBlocked = "DeletionBlocked"
	reasonApplyFailed     = "ApplyFailed"
)

// summarize computes the status from what the pass has found.
func summarize(s *scope, err error) {
	status := &s.driver.Status
	set := conditions.Setter{Conditions: &status.Conditions, Generation: s.driver.Generation}
	status.Nodes = nodes(s)
	if err != nil {
		set.Progressing(reasonApplyFailed, err.Error())
		return
	}
	status.ObservedGeneration = s.driver.Generation
	status.Snapshots = ""
	if s.needed != "" {
		status.Snapshots = v1alpha1.SnapshotsNotInstalled
	}
	if s.snapshots {
		status.Snapshots = v1alpha1.SnapshotsSupported
	}
	switch {
	case s.conflict != "":
		set.Stalled(reasonConflict, s.conflict)
	case s.needed == "":
		set.Ready(reasonNotNeeded, "no NFSBackend exists, so the CSI driver is not deployed")
	case !s.driver.DeletionTimestamp.IsZero():
		set.Progressing(reasonDeletionBlocked, fmt.Sprintf(
			"%s; the CSI driver runs until no NFSBackend, PersistentVolume and VolumeSnapshotContent of it is left", s.needed))
	default:
		setReadyFromStack(s, set)
	}
}

func setReadyFromStack(s *scope, set conditions.Setter) {
	doing := "rolling out version " + version.Version
	if upgrading(s) {
		doing = fmt.Sprintf("upgrading from version %s to %s", s.driver.Status.Version, version.Version)
	}
	switch {
	case !controllerReady(s):
		set.Progressing(reasonRollingOut, doing+": the CSI controller is not available yet")
	case !nodesReady(s):
		set.Progressing(reasonRollingOut, fmt.Sprintf("%s: the CSI node plugin is ready on %s nodes", doing, s.driver.Status.Nodes))
	default:
		s.driver.Status.Version = version.Version
		set.Ready(reasonRunning, fmt.Sprintf("the CSI driver runs; its node plugin is ready on %s nodes", s.driver.Status.Nodes))
	}
}

// upgrading tells whether another version of the operator made what runs.
func upgrading(s *scope) bool {
	return s.driver.Status.Version != "" && s.driver.Status.Version != version.Version
}

// controllerReady asks for one replica: the second is for when the first fails.
func controllerReady(s *scope) bool {
	d := s.controller
	return d != nil && d.Status.ObservedGeneration >= d.Generation &&
		d.Status.UpdatedReplicas == *d.Spec.Replicas && d.Status.AvailableReplicas > 0
}

func nodesReady(s *scope) bool {
	d := s.node
	return d != nil && d.Status.ObservedGeneration >= d.Generation &&
		d.Status.UpdatedNumberScheduled == d.Status.DesiredNumberScheduled &&
		d.Status.NumberReady == d.Status.DesiredNumberScheduled
}

func nodes(s *scope) string {
	if s.node == nil {
		if s.needed != "" {
			return s.driver.Status.Nodes
		}
		return ""
	}
	return fmt.Sprintf("%d/%d", s.node.Status.NumberReady, s.node.Status.DesiredNumberScheduled)
}
