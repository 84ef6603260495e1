package nfsbackend

import (
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// measureInterval is how often figures may be written. They change with each volume that is made, and each write has all
// who watch the object look at it again.
const measureInterval = 30 * time.Second

// throttle takes new figures back out of a status when they are all that has changed and the last ones were written a
// moment ago. It returns when they may be written, or zero when nothing is held back.
func throttle(before v1alpha1.NFSBackendStatus, after *v1alpha1.NFSBackendStatus, now time.Time) time.Duration {
	if equality.Semantic.DeepEqual(figures(before), figures(*after)) {
		return 0
	}
	if due := now.Sub(deref(before.Measured).Time); due < measureInterval &&
		equality.Semantic.DeepEqual(withoutFigures(before), withoutFigures(*after)) {
		before.DeepCopyInto(after)
		return measureInterval - max(due, 0)
	}
	after.Measured = new(metav1.NewTime(now))
	return 0
}

// figures is what of a status changes by itself, without anything happening to the servers.
func figures(status v1alpha1.NFSBackendStatus) v1alpha1.NFSBackendStatus {
	only := v1alpha1.NFSBackendStatus{
		Capacity: status.Capacity, Allocated: status.Allocated, Trash: status.Trash, Volumes: status.Volumes, Snapshots: status.Snapshots,
	}
	for _, s := range status.Shards {
		only.Shards = append(only.Shards, v1alpha1.ShardStatus{
			Capacity: s.Capacity, Allocated: s.Allocated, Available: s.Available, Trash: s.Trash, Volumes: s.Volumes, Snapshots: s.Snapshots,
		})
	}
	return only
}

func withoutFigures(status v1alpha1.NFSBackendStatus) v1alpha1.NFSBackendStatus {
	rest := *status.DeepCopy()
	rest.Capacity, rest.Allocated, rest.Trash, rest.Volumes, rest.Snapshots, rest.Measured = nil, nil, nil, nil, nil, nil
	for i := range rest.Shards {
		s := &rest.Shards[i]
		s.Capacity, s.Allocated, s.Available, s.Trash, s.Volumes, s.Snapshots = nil, nil, nil, nil, nil, nil
	}
	for i := range rest.Conditions {
		if c := &rest.Conditions[i]; c.Type == v1alpha1.ConditionInUse {
			c.Message = "" // it counts volumes
		}
	}
	return rest
}
