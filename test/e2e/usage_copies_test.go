//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const snapshotGroup = "snapshot.storage.k8s.io"

// snapshotClass makes a VolumeSnapshotClass of this test's own.
func (e *env) snapshotClass() string {
	e.t.Helper()
	name := e.name("snapshots")
	e.apply(fmt.Sprintf(`{apiVersion: %s/v1, kind: VolumeSnapshotClass, metadata: {name: %s}, driver: %s, deletionPolicy: Delete}`,
		snapshotGroup, name, names.Driver))
	e.atEnd("delete", "volumesnapshotclass", name, "--ignore-not-found")
	return name
}

func (e *env) snapshot(name, claim, class string) {
	e.t.Helper()
	e.apply(fmt.Sprintf(`{apiVersion: %s/v1, kind: VolumeSnapshot, metadata: {name: %s}, spec: {volumeSnapshotClassName: %s, source: {persistentVolumeClaimName: %s}}}`,
		snapshotGroup, name, class, claim))
}

func from(group, kind, name string) func(*corev1.PersistentVolumeClaimSpec) {
	return func(s *corev1.PersistentVolumeClaimSpec) {
		s.DataSource = &corev1.TypedLocalObjectReference{Kind: kind, Name: name}
		if group != "" {
			s.DataSource.APIGroup = &group
		}
	}
}

func TestSnapshotAndRestore(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.snapshotClass()
	e.create(newClaim("data"), newPod("a", "data"))
	e.ready("a")
	e.shell("a", "mkdir /data/d && echo before > /data/d/file && ln /data/d/file /data/link && sync")
	e.snapshot("then", "data", class)
	e.do("wait", "--for=jsonpath={.status.readyToUse}=true", "--timeout=600s", "volumesnapshot/then")
	e.shell("a", "echo after > /data/d/file && touch /data/new && sync")

	// The snapshot outlives its volume.
	e.do("delete", "pod", "a", "--timeout=600s")
	e.do("delete", "pvc", "data", "--timeout=600s")
	e.create(newClaim("restored", from(snapshotGroup, "VolumeSnapshot", "then"), ofSize("128Mi")), newPod("b", "restored"))
	e.ready("b")
	if got := e.shell("b", "cat /data/d/file /data/link; ls /data; df -k /data | tail -n 1 | awk '{print $(NF-4)}'"); got != "before\n"+"before\n"+"d\nlink\n131072" {
		t.Errorf("the restored volume holds %q", got)
	}
	e.shell("b", "echo mine > /data/d/file")
	content := e.get("volumesnapshot/then", "{.status.boundVolumeSnapshotContentName}")
	e.do("delete", "volumesnapshot", "then", "--timeout=600s")
	e.do("wait", "--for=delete", "--timeout=600s", "volumesnapshotcontent/"+content)
	if got := e.shell("b", "cat /data/d/file"); got != "mine" {
		t.Errorf("after the snapshot's deletion the restored volume holds %q", got)
	}
}

// TestSnapshotsOfTheProfile: the VolumeSnapshotClass that the operator made from the profile, and its maxSnapshots.
func TestSnapshotsOfTheProfile(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	one := int32(1)
	class := e.profile("one", func(s *v1alpha1.StorageProfileSpec) { s.Snapshots.MaxSnapshots = &one })
	e.create(newClaim("data", ofClass(class)), newPod("a", "data"))
	e.ready("a")
	e.shell("a", "echo before > /data/file && sync")
	e.snapshot("first", "data", class)
	e.do("wait", "--for=jsonpath={.status.readyToUse}=true", "--timeout=600s", "volumesnapshot/first")
	e.snapshot("second", "data", class)
	e.await("the second snapshot is refused", func(got string) bool {
		return strings.Contains(got, "maxSnapshots of StorageProfile") && strings.Contains(got, class)
	}, "get", "volumesnapshot", "second", "-o", "jsonpath={.status.error.message}")
	e.do("delete", "volumesnapshot", "first", "--timeout=600s")
	e.do("wait", "--for=jsonpath={.status.readyToUse}=true", "--timeout=600s", "volumesnapshot/second")
	e.do("delete", "volumesnapshot", "second", "--timeout=600s")
}

func TestClone(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newClaim("data"), newPod("a", "data"))
	e.ready("a")
	e.shell("a", "echo original > /data/file && sync")
	e.create(newClaim("clone", from("", "PersistentVolumeClaim", "data")), newPod("b", "clone"))
	e.ready("b")
	e.shell("b", "[ $(cat /data/file) = original ] && echo changed > /data/file")
	if got := e.shell("a", "cat /data/file"); got != "original" {
		t.Errorf("the clone's write changed its source: %q", got)
	}
}
