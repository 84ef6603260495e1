// Package snapshots tells whether the cluster has volume snapshots. Their CRDs are the cluster's to install and may come
// at any time, so they are watched.
package snapshots

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// CRDName is the definition whose presence is taken for that of all three: the others are installed with it.
const CRDName = "volumesnapshotcontents.snapshot.storage.k8s.io"

// Group and version of the kinds of volume snapshots.
const (
	Group   = "snapshot.storage.k8s.io"
	Version = "v1"
)

// Contents is the kind of what a snapshot is for the cluster.
var Contents = schema.GroupVersionKind{Group: Group, Version: Version, Kind: "VolumeSnapshotContent"}

// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,resourceNames=volumesnapshotcontents.snapshot.storage.k8s.io,verbs=get;list;watch

// CRD is an object to watch and to read: only the metadata of the definition, for its schema is large.
func CRD() *metav1.PartialObjectMetadata {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	return crd
}

// +kubebuilder:rbac:groups=snapshot.storage.k8s.io,resources=volumesnapshotcontents,verbs=list

// page is how many VolumeSnapshotContents are read at a time.
const page = 500

// AnyContent is the name of a VolumeSnapshotContent of a driver that matches; empty if there is none, or where the cluster has no volume
// snapshots. They are read from the API server: no cache of ours holds them.
func AnyContent(ctx context.Context, c client.Client, uncached client.Reader, driver string, matches func(unstructured.Unstructured) bool) (string, error) {
	if installed, err := Installed(ctx, c); err != nil || !installed {
		return "", err
	}
	for next := ""; ; {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(Contents)
		if err := uncached.List(ctx, list, client.Limit(page), client.Continue(next)); err != nil {
			return "", fmt.Errorf("list VolumeSnapshotContents: %w", err)
		}
		for _, content := range list.Items {
			if name, _, _ := unstructured.NestedString(content.Object, "spec", "driver"); name == driver && matches(content) {
				return content.GetName(), nil
			}
		}
		if next = list.GetContinue(); next == "" {
			return "", nil
		}
	}
}

// HandlesOf are the handles of a VolumeSnapshotContent: that of the snapshot, or of the volume that is to be cut.
func HandlesOf(content unstructured.Unstructured) []string {
	var handles []string
	for _, path := range [][]string{
		{"status", "snapshotHandle"}, {"spec", "source", "snapshotHandle"}, {"spec", "source", "volumeHandle"},
	} {
		if handle, found, err := unstructured.NestedString(content.Object, path...); found && err == nil {
			handles = append(handles, handle)
		}
	}
	return handles
}

// Installed tells whether the cluster has volume snapshots. A definition that is about to go counts as absent. One that
// has just come is an error until its kind is served, so that the caller looks again.
func Installed(ctx context.Context, c client.Client) (bool, error) {
	crd := CRD()
	err := c.Get(ctx, client.ObjectKey{Name: CRDName}, crd)
	switch {
	case apierrors.IsNotFound(err):
		return false, nil
	case err != nil:
		return false, fmt.Errorf("get CustomResourceDefinition %s: %w", CRDName, err)
	case !crd.DeletionTimestamp.IsZero():
		return false, nil
	}
	if _, err = c.RESTMapper().RESTMapping(Contents.GroupKind(), Contents.Version); err != nil {
		return false, fmt.Errorf("look for kind %s: %w", Contents.Kind, err)
	}
	return true, nil
}
