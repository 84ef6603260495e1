// Package conditions sets the conditions Ready, Reconciling and Stalled so that they never contradict each other.
package conditions

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// maxMessage keeps a condition far below the 32,768 bytes that the API server accepts.
const maxMessage = 1024

// Setter sets conditions of one object at one generation.
type Setter struct {
	Conditions *[]metav1.Condition
	Generation int64
}

// Ready says that the object is what its spec asks for.
func (s Setter) Ready(reason, message string) {
	s.set(v1alpha1.ConditionReady, metav1.ConditionTrue, reason, message)
	s.set(v1alpha1.ConditionReconciling, metav1.ConditionFalse, reason, "")
	s.set(v1alpha1.ConditionStalled, metav1.ConditionFalse, reason, "")
}

// Progressing says that the object is on its way, and what it waits for.
func (s Setter) Progressing(reason, message string) {
	s.set(v1alpha1.ConditionReady, metav1.ConditionUnknown, reason, message)
	s.set(v1alpha1.ConditionReconciling, metav1.ConditionTrue, reason, message)
	s.set(v1alpha1.ConditionStalled, metav1.ConditionFalse, reason, "")
}

// Stalled says that nothing goes on without a person.
func (s Setter) Stalled(reason, message string) {
	s.set(v1alpha1.ConditionReady, metav1.ConditionFalse, reason, message)
	s.set(v1alpha1.ConditionReconciling, metav1.ConditionFalse, reason, "")
	s.set(v1alpha1.ConditionStalled, metav1.ConditionTrue, reason, message)
}

// Set sets another condition.
func (s Setter) Set(conditionType string, status bool, reason, message string) {
	value := metav1.ConditionFalse
	if status {
		value = metav1.ConditionTrue
	}
	s.set(conditionType, value, reason, message)
}

func (s Setter) set(conditionType string, status metav1.ConditionStatus, reason, message string) {
	if len(message) > maxMessage {
		message = message[:maxMessage]
	}
	meta.SetStatusCondition(s.Conditions, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message, ObservedGeneration: s.Generation,
	})
}

// Changed tells whether a condition's status or reason differs: whether there is a transition to tell people of.
func Changed(before, after []metav1.Condition, conditionType string) bool {
	was, is := meta.FindStatusCondition(before, conditionType), meta.FindStatusCondition(after, conditionType)
	if was == nil || is == nil {
		return was != is
	}
	return was.Status != is.Status || was.Reason != is.Reason
}

// Announce tells people by an event of a transition of Ready, in the words of the condition. Reasons that need a
// person's attention are given as warnings.
func Announce(recorder events.EventRecorder, about runtime.Object, before, after []metav1.Condition, warnings ...string) {
	ready := meta.FindStatusCondition(after, v1alpha1.ConditionReady)
	if ready == nil || !Changed(before, after, v1alpha1.ConditionReady) {
		return
	}
	kind := corev1.EventTypeNormal
	if slices.Contains(warnings, ready.Reason) {
		kind = corev1.EventTypeWarning
	}
	recorder.Eventf(about, nil, kind, ready.Reason, "Reconcile", "%s", ready.Message)
}
