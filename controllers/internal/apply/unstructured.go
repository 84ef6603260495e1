package apply

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Unstructured brings an object to desired whose kind has no Go type here. live is what was read, or nil. It tells
// whether it wrote. desired must always have the same fields: one that is left out is not taken away from live unseen.
func Unstructured(ctx context.Context, c client.Client, live, desired *unstructured.Unstructured) (bool, error) {
	if live != nil && within(desired.Object, live.Object) {
		return false, nil
	}
	configuration := client.ApplyConfigurationFromUnstructured(desired)
	if err := c.Apply(ctx, configuration, client.FieldOwner(names.FieldOwner), client.ForceOwnership); err != nil {
		return false, fmt.Errorf("apply %s %s: %w", desired.GetKind(), desired.GetName(), err)
	}
	return true, nil
}

// within tells whether all that part says is so in whole.
func within(part, whole any) bool {
	switch part := part.(type) {
	case map[string]any:
		all, isMap := whole.(map[string]any)
		for key := range part {
			if !isMap || !within(part[key], all[key]) {
				return false
			}
		}
		return true
	case []any: // such as owner references: others may be beside ours
		all, _ := whole.([]any)
		for _, want := range part {
			if !slices.ContainsFunc(all, func(have any) bool { return within(want, have) }) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(part, whole)
}
