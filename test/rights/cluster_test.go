//go:build e2e

package rights

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// rare are rights that the end-to-end tests do not come to use, and what does.
var rare = map[string]string{}

// TestRightsAreUsed looks at what each service account asked for while the end-to-end tests ran on this cluster: nothing that is
// not granted, and everything that is.
func TestRightsAreUsed(t *testing.T) {
	kubeconfig := os.Getenv("E2E_KUBECONFIG")
	if kubeconfig == "" {
		t.Fatal("E2E_KUBECONFIG names the cluster: run `hack/test e2e`")
	}
	all, err := story.Kubectl{Kubeconfig: kubeconfig}.Requests()
	if err != nil {
		t.Fatal(err)
	}
	named := map[string]bool{}
	for user, files := range map[string][]string{
		"csi-node": {"csi_node.yaml"}, "csi-controller": {"csi_controller.yaml"}, "manager": {"role.yaml", "manager.yaml"},
	} {
		rights := map[right]bool{}
		for _, file := range files {
			of, err := granted("../../config/rbac/" + file)
			if err != nil {
				t.Fatal(err)
			}
			for r := range of {
				rights[r], named[user+": "+r.String()] = true, true
			}
		}
		requests := slices.DeleteFunc(slices.Clone(all), func(r story.Request) bool { return !strings.HasSuffix(r.User, ":"+user) })
		refused := map[string]bool{}
		for _, r := range requests {
			if r.Refused && !refused[r.String()] {
				refused[r.String()] = true
				t.Errorf("not granted: %s", r)
			}
		}
		for _, idle := range unused(rights, requests) {
			if key := user + ": " + idle.String(); rare[key] == "" {
				t.Errorf("granted and not used: %s", key)
			}
		}
		t.Logf("%s: %d requests, %d rights", user, len(requests), len(rights))
	}
	for key := range rare {
		if !named[key] {
			t.Errorf("%s: no longer granted: take it off the list", key)
		}
	}
}
