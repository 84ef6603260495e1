//go:build e2e

package e2e

import (
	"path"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// TestIntruder tries to mount a volume by hand, with all rights that a pod can have: from the pod network of either node, and
// from the host network of a node that has not staged it. The same command on the node that has staged it succeeds, so
// that the refusals mean something.
func TestIntruder(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nodes := e.nodes()
	e.create(newClaim("secret"), newPod("owner", "secret", on(nodes[0])))
	e.ready("owner")
	e.shell("owner", "echo secret > /data/file")
	address := e.do("-n", systemNamespace, "get", "service", names.Shard(story.Backend, 0), "-o", "jsonpath={.spec.clusterIP}")
	id := path.Base(e.get("pv/"+e.bound("secret"), "{.spec.csi.volumeHandle}"))

	e.create(
		newPod("host-granted", "", on(nodes[0]), privileged(true)),
		newPod("host-other", "", on(nodes[1]), privileged(true)),
		newPod("pod-beside", "", on(nodes[0]), privileged(false)),
		newPod("pod-other", "", on(nodes[1]), privileged(false)))
	e.ready("host-granted", "host-other", "pod-beside", "pod-other")
	try := func(pod, what string) string {
		return e.mountByHand(pod, address, what, "find /mnt; cat /mnt/file")
	}
	if got := try("host-granted", "/"+id); !strings.Contains(got, "secret") {
		t.Fatalf("the node that has the volume staged cannot mount it with this command, so the refusals below would say nothing: %s", got)
	}
	for _, pod := range []string{"host-other", "pod-beside", "pod-other"} {
		// By its name, by the server's path, and by what the server's root shows.
		for _, what := range []string{"/" + id, "/data/volumes/" + id, "/"} {
			if got := try(pod, what); strings.Contains(got, "secret") || strings.Contains(got, id+"\n") {
				t.Errorf("%s mounts %s:\n%s", pod, what, got)
			} else if what == "/"+id && !refusesMount(got) {
				t.Errorf("%s is not refused but fails otherwise: %s", pod, got)
			}
		}
	}
}
