//go:build e2e

package rights

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// rare are rights that the end-to-end tests do not always come to use, and what does.
var rare = map[string]string{
	"csi-node: create events.k8s.io/events in the cluster":                          "a forced unmount, and mount options that have no effect",
	"csi-node: get storage.nfs-operator.io/nfsbackends in the cluster":              "a volume whose server does not answer, or has moved",
	"csi-controller: get /namespaces in the cluster":                                "a StorageProfile that allows namespaces by their labels",
	"csi-controller: patch /events in the cluster":                                  "an event that is repeated",
	"csi-controller: update /persistentvolumeclaims in the cluster":                 "csi-provisioner, when a claim of WaitForFirstConsumer is to be scheduled again",
	"csi-controller: get /persistentvolumeclaims in the cluster":                    "csi-controller's sweep, of volumes without a PersistentVolume",
	"csi-controller: update snapshot.storage.k8s.io/volumesnapshots in the cluster": "csi-provisioner's finalizer of a VolumeSnapshot that is being restored",
}

// asked are rights that a sidecar asks for, and goes on without.
var asked = map[string]string{
	"csi-controller: list groupsnapshot.storage.k8s.io/volumegroupsnapshotcontents in the cluster": "csi-snapshotter; the driver makes no snapshots of groups",
}

// TestRightsAreUsed looks at what the driver's service accounts asked for while the end-to-end tests ran on this cluster: nothing that
// is not granted, and everything that is. The manager's are compared in controllers, TestManager, where all of its work is seen.
func TestRightsAreUsed(t *testing.T) {
	kubeconfig := os.Getenv("E2E_KUBECONFIG")
	if kubeconfig == "" {
		t.Fatal("E2E_KUBECONFIG names the cluster: run `hack/test e2e_long`")
	}
	all, err := story.Kubectl{Kubeconfig: kubeconfig}.Requests()
	if err != nil {
		t.Fatal(err)
	}
	excused := maps.Clone(rare)
	for user, file := range map[string]string{"csi-node": "csi_node.yaml", "csi-controller": "csi_controller.yaml"} {
		rights, err := granted("../../config/rbac/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for r := range rights {
			delete(excused, user+": "+r.String())
		}
		requests := slices.DeleteFunc(slices.Clone(all), func(r story.Request) bool { return !strings.HasSuffix(r.User, ":"+user) })
		if len(requests) == 0 {
			t.Errorf("%s asked for nothing", user)
		}
		for _, missing := range refused(rights, requests) {
			if key := user + ": " + missing.String(); asked[key] == "" {
				t.Errorf("asked for and not granted: %s", key)
			}
		}
		for _, idle := range unused(rights, requests) {
			if key := user + ": " + idle.String(); rare[key] == "" {
				t.Errorf("granted and not used: %s", key)
			}
		}
		t.Logf("%s: %d requests, %d rights", user, len(requests), len(rights))
	}
	for key := range excused {
		t.Errorf("%s: no longer granted: take it off the list", key)
	}
}
