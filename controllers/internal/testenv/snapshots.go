//go:build envtest

package testenv

import (
	"context"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// InstallSnapshotCRDs installs definitions of volume snapshots, with schemas that accept everything, for the time of a
// test, and waits until their kinds are served.
func InstallSnapshotCRDs(t *testing.T) {
	t.Helper()
	c := Client(t)
	for _, kind := range []string{"VolumeSnapshotClass", "VolumeSnapshot", "VolumeSnapshotContent"} {
		crd := snapshotCRD(kind)
		if err := c.Create(t.Context(), crd); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { RemoveSnapshotCRD(t, kind) })
		Await(t, func() bool {
			_, err := Client(t).RESTMapper().RESTMapping(schema.GroupKind{Group: "snapshot.storage.k8s.io", Kind: kind}, "v1")
			return err == nil
		})
	}
}

// RemoveSnapshotCRD removes one of them, and waits until it is gone.
func RemoveSnapshotCRD(t *testing.T, kind string) {
	t.Helper()
	crd, c := snapshotCRD(kind), Client(t)
	if err := client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), crd)); err != nil {
		t.Fatal(err)
	}
	Await(t, func() bool {
		err := c.Get(context.WithoutCancel(t.Context()), client.ObjectKeyFromObject(crd), crd)
		return err != nil && client.IgnoreNotFound(err) == nil
	})
}

func snapshotCRD(kind string) *unstructured.Unstructured {
	plural := strings.ToLower(kind) + "s"
	if strings.HasSuffix(kind, "Class") {
		plural = strings.ToLower(kind) + "es"
	}
	anything := map[string]any{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1",
		"kind":       "CustomResourceDefinition",
		"metadata": map[string]any{
			"name":        plural + ".snapshot.storage.k8s.io",
			"annotations": map[string]any{"api-approved.kubernetes.io": "unapproved, test-only"},
		},
		"spec": map[string]any{
			"group": "snapshot.storage.k8s.io",
			"scope": map[bool]string{true: "Namespaced", false: "Cluster"}[kind == "VolumeSnapshot"],
			"names": map[string]any{"kind": kind, "listKind": kind + "List", "plural": plural, "singular": strings.ToLower(kind)},
			"versions": []any{map[string]any{
				"name": "v1", "served": true, "storage": true, "schema": map[string]any{"openAPIV3Schema": anything},
			}},
		},
	}}
}
