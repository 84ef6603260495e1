// Package apply brings objects to what they should be by server-side apply, and writes nothing when they already are.
package apply

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/csaupgrade"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Configuration is what the generated apply configurations of named objects have in common.
type Configuration interface {
	comparable
	runtime.ApplyConfiguration
	GetKind() *string
	GetName() *string
	GetNamespace() *string
}

// Extractor is the generated function that reads back from a live object what a field manager has applied to it.
type Extractor[T client.Object, C Configuration] func(live T, fieldManager string) (C, error)

// Object brings the object to desired. It fills live with what was there before (an empty object when there was none)
// and tells whether it wrote.
//
// What we applied last is read back from the live object's managed fields, with the values that those fields have
// now. A field that somebody else has changed is no longer ours and is missing there; so the object is as it should be
// exactly when that equals desired. An object that is not in a filtered cache is taken for missing, and applied.
func Object[T client.Object, C Configuration](ctx context.Context, c client.Client, live T, desired C, extract Extractor[T, C]) (bool, error) {
	key := client.ObjectKey{Name: deref(desired.GetName()), Namespace: deref(desired.GetNamespace())}
	err := c.Get(ctx, key, live)
	if client.IgnoreNotFound(err) != nil {
		return false, fmt.Errorf("get %s %s: %w", deref(desired.GetKind()), key.Name, err)
	}
	if err == nil {
		same, err := matches(live, desired, extract)
		if err != nil {
			return false, err
		}
		if same {
			return false, nil
		}
	}
	exists := err == nil
	if exists {
		if err := takeReplaced(ctx, c, live); err != nil { // of a pass that was cut off
			return false, fmt.Errorf("take over the fields of %s %s: %w", deref(desired.GetKind()), key.Name, err)
		}
	}
	err = c.Apply(ctx, desired, client.FieldOwner(names.FieldOwner), client.ForceOwnership)
	if exists && apierrors.IsInvalid(err) && replaceable(live) {
		if err = replaceSpec(ctx, c, live, desired); err == nil {
			err = c.Apply(ctx, desired, client.FieldOwner(names.FieldOwner), client.ForceOwnership)
		}
	}
	if err != nil {
		return false, fmt.Errorf("apply %s %s: %w", deref(desired.GetKind()), key.Name, err)
	}
	return true, nil
}

// replacer is the field manager of what replaceSpec writes, until the one that applies has taken it.
const replacer = names.FieldOwner + "-replace"

// replaceable tells whether the spec is all ours, and not a record of what was bound to what.
func replaceable(live client.Object) bool {
	switch live.(type) {
	case *corev1.PersistentVolumeClaim, *corev1.PersistentVolume:
		return false
	}
	return true
}

// replaceSpec takes out of a spec what others have put there, where the API server does not accept ours beside it: an apply
// merges, and so can never undo that Deny became Warn, or maxUnavailable became minAvailable. Labels and annotations stay
// (docs/decisions/0022).
func replaceSpec[T client.Object, C Configuration](ctx context.Context, c client.Client, live T, desired C) error {
	want, err := normalize(desired)
	if err != nil {
		return err
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(live)
	if err != nil {
		return err
	}
	content["spec"] = want.(map[string]any)["spec"]
	changed := live.DeepCopyObject().(T)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, changed); err != nil {
		return err
	}
	patch := client.MergeFromWithOptions(live.DeepCopyObject().(T), client.MergeFromWithOptimisticLock{})
	if err := c.Patch(ctx, changed, patch, client.FieldOwner(replacer)); err != nil {
		return err
	}
	return takeReplaced(ctx, c, changed)
}

// takeReplaced gives what replaceSpec has written to the field manager that applies. What has a second owner stays when it is applied no more.
func takeReplaced(ctx context.Context, c client.Client, obj client.Object) error {
	patch, err := csaupgrade.UpgradeManagedFieldsPatch(obj, sets.New(replacer), names.FieldOwner)
	if err != nil || patch == nil {
		return err
	}
	return c.Patch(ctx, obj.DeepCopyObject().(client.Object), client.RawPatch(types.JSONPatchType, patch))
}

func matches[T client.Object, C Configuration](live T, desired C, extract Extractor[T, C]) (bool, error) {
	applied, err := extract(live, names.FieldOwner)
	if err != nil {
		return false, fmt.Errorf("read what was applied to %s: %w", live.GetName(), err)
	}
	have, err := normalize(applied)
	if err != nil {
		return false, err
	}
	want, err := normalize(desired)
	if err != nil {
		return false, err
	}
	return reflect.DeepEqual(have, want), nil
}

// normalize compares by what goes over the wire, so that nil and empty are one and quantities have one spelling.
func normalize(configuration any) (any, error) {
	text, err := json.Marshal(configuration)
	if err != nil {
		return nil, err
	}
	var out any
	return out, json.Unmarshal(text, &out)
}

// Delete deletes what may be gone already. The object is the one that was read: another of the same name is let alone, and
// answered with a conflict, for it may be ours as well.
func Delete(ctx context.Context, c client.Client, obj client.Object) error {
	if !obj.GetDeletionTimestamp().IsZero() {
		return nil
	}
	uid := obj.GetUID()
	err := c.Delete(ctx, obj, client.Preconditions{UID: &uid}, client.PropagationPolicy("Background"))
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("delete %T %s: %w", obj, obj.GetName(), err)
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
