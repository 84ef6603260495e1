//go:build envtest

package testenv

import (
	"context"
	"testing"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// KStatus is what tools that know nothing of our kinds make of an object.
func KStatus(t *testing.T, obj client.Object) status.Status {
	t.Helper()
	return compute(t, toUnstructured(t, obj)).Status
}

// CheckKStatus reads an object of ours, and checks that those tools make of it what its conditions say, and give a reason
// wherever it is not done. An object that is gone, or that no controller has taken up, has no conditions to check.
func CheckKStatus(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	err := c.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(obj), obj)
	if apierrors.IsNotFound(err) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	object := toUnstructured(t, obj)
	observed, _, _ := unstructured.NestedInt64(object.Object, "status", "observedGeneration")
	set := conditionsOf(object)
	if set[v1alpha1.ConditionReady] == "" {
		if observed != 0 {
			t.Errorf("%s was observed, and has no condition", obj.GetName())
		}
		return
	}
	said := [3]string{set[v1alpha1.ConditionReady], set[v1alpha1.ConditionReconciling], set[v1alpha1.ConditionStalled]}
	want, known := map[[3]string]status.Status{
		{"True", "False", "False"}:   status.CurrentStatus,
		{"Unknown", "True", "False"}: status.InProgressStatus,
		{"False", "False", "True"}:   status.FailedStatus,
	}[said]
	switch {
	case !known:
		t.Errorf("%s contradicts itself: Ready, Reconciling and Stalled are %v", obj.GetName(), said)
		return
	case !obj.GetDeletionTimestamp().IsZero():
		want = status.TerminatingStatus
	case observed != obj.GetGeneration():
		want = status.InProgressStatus
	}
	got := compute(t, object)
	if got.Status != want || want != status.CurrentStatus && got.Message == "" {
		t.Errorf("%s is %s (%q) to others, and to us %s: Ready, Reconciling and Stalled are %v", obj.GetName(), got.Status, got.Message, want, said)
	}
}

func compute(t *testing.T, object *unstructured.Unstructured) *status.Result {
	t.Helper()
	result, err := status.Compute(object)
	if err != nil {
		t.Fatal(err)
	}
	return result
}

func toUnstructured(t *testing.T, obj client.Object) *unstructured.Unstructured {
	t.Helper()
	kind, err := apiutil.GVKForObject(obj, Scheme())
	if err != nil {
		t.Fatal(err)
	}
	content, err := apiruntime.DefaultUnstructuredConverter.ToUnstructured(obj)
	if err != nil {
		t.Fatal(err)
	}
	object := &unstructured.Unstructured{Object: content}
	object.SetGroupVersionKind(kind)
	return object
}

// conditionsOf are the statuses of an object's conditions by their types.
func conditionsOf(object *unstructured.Unstructured) map[string]string {
	set := map[string]string{}
	all, _, _ := unstructured.NestedSlice(object.Object, "status", "conditions")
	for _, one := range all {
		if condition, ok := one.(map[string]any); ok {
			kind, _ := condition["type"].(string)
			set[kind], _ = condition["status"].(string)
		}
	}
	return set
}
