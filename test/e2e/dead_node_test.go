//go:build e2e && long

package e2e

import (
	"fmt"
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// outOfService is how a person says that a node is off and stays so.
const outOfService = "node.kubernetes.io/out-of-service"

// TestDeadNode: a node with a ReadWriteOnce volume loses power, and a pod on another node waits until that node counts as dead, is told so, and
// takes the volume over, without anybody's help. Then
// the node is declared out of service: what it was granted is closed, and nothing of any other node. It comes back only with the taint gone.
func TestDeadNode(t *testing.T) {
	e := newEnv(t)
	alive := e.get("nfsbackend/"+story.Backend, "{.status.shards[0].node}")
	dead := e.nodes()[0]
	if dead == alive {
		dead = e.nodes()[1]
	}
	node := func(args ...string) {
		t.Helper()
		if out, err := clusterTool(t, append([]string{"node"}, args...)...); err != nil {
			t.Fatalf("node %v: %v\n%s", args, err, out)
		}
	}
	e.create(newClaim("once", withMode(corev1.ReadWriteOnce)), newClaim("many"),
		newPod("first", "once", on(dead), withVolume("/many", claimVolume("many"))), newPod("writer", "many", on(alive)))
	e.ready("first", "writer")
	e.shell("first", "echo first > /data/file && sync && echo mine > /many/file && sync")
	e.shell("writer", writer)
	e.writesOn("writer", "the start")
	volume := path.Base(e.get("pv/"+e.bound("many"), "{.spec.csi.volumeHandle}"))

	node("stop", dead)
	t.Cleanup(func() { _, _ = clusterTool(t, "node", "start", dead) })
	e.create(newPod("next", "once", on(alive)))
	e.event("pod/next", "has been silent for")
	e.do("wait", "--for=condition=Ready", "--timeout=900s", "pod/next") // the node's patience, and the kubelet's longest pause between two attempts
	if got := e.shell("next", "cat /data/file && echo next >> /data/file"); got != "first" {
		t.Errorf("the pod that took the volume over reads %q", got)
	}
	e.await("an event at the Node that has the volume now names the one that lost it", func(got string) bool { return strings.Contains(got, dead) },
		"get", "events", "-A", "--field-selector", "reason=VolumeTakenOver,involvedObject.name="+alive, "-o", `jsonpath={.items[*].message}`)
	e.writesOn("writer", "the loss of another node")

	e.do("wait", "--for=condition=Ready=Unknown", "--timeout=300s", "node/"+dead)
	e.do("taint", "node", dead, outOfService+"=poweroff:NoExecute")
	t.Cleanup(func() {
		ctx, cancel := cleanUpContext()
		defer cancel()
		_, _ = e.Run(ctx, "taint", "node", dead, outOfService+"-")
	})
	e.do("wait", "--for=delete", "pod/first", "--timeout=300s")
	e.backendEvent("NodeGone", dead)
	if got := e.server("cat /data/.nfs-operator/nodes/" + dead + ".json"); !strings.Contains(got, `"gone":`) || strings.Contains(got, volume) {
		t.Errorf("the grants of the node that is gone: %s", got)
	}
	if got := e.server("cat /data/.nfs-operator/nodes/" + alive + ".json"); strings.Contains(got, `"gone":`) || !strings.Contains(got, volume) {
		t.Errorf("the grants of the other node: %s", got)
	}
	e.writesOn("writer", "the other node was declared out of service")

	node("start", dead)
	if said, err := e.mountOnNode(alive, volume); err != nil {
		t.Fatalf("the node that has the volume staged cannot mount it with this command, so the refusal below would say nothing: %v: %s", err, said)
	}
	// A node that has just started may not know yet where a Service is.
	e.await("the node that is out of service is refused a volume that it had", func(string) bool {
		said, err := e.mountOnNode(dead, volume)
		if err == nil {
			t.Fatalf("the node that is out of service mounts a volume that it had: %s", said)
		}
		return refusesMount(said)
	}, "get", "node", dead)
	e.do("taint", "node", dead, outOfService+"-")
	e.backendEvent("NodeBack", dead)
	e.create(newPod("again", "many", on(dead)))
	e.ready("again")
	if got := e.shell("again", "cat /data/file"); got != "mine" {
		t.Errorf("the node that came back reads %q", got)
	}
	if got := e.shell("next", "cat /data/file"); got != "first\nnext" {
		t.Errorf("the volume that was taken over holds %q", got)
	}
	e.writesOn("writer", "the other node's return")
	e.allWritten("writer")
}

// backendEvent waits for an event at the NFSBackend of config/samples that names something.
func (e *env) backendEvent(reason, name string) {
	e.t.Helper()
	e.await(fmt.Sprintf("an event %s names %s", reason, name), func(got string) bool { return strings.Contains(got, name) },
		"get", "events", "-A", "--field-selector", "reason="+reason+",involvedObject.name="+story.Backend, "-o", `jsonpath={.items[*].message}`)
}

// mountOnNode tries to mount a volume of the backend of config/samples from a node's own shell.
func (e *env) mountOnNode(node, volume string) (string, error) {
	e.t.Helper()
	address := e.do("-n", systemNamespace, "get", "service", names.Shard(story.Backend, 0), "-o", "jsonpath={.spec.clusterIP}")
	return onNode(e.t, node, "sh", "-c", fmt.Sprintf(
		"mkdir -p /run/by-hand && mount -t nfs4 -o vers=4.2,soft,timeo=100,retrans=2 %s:/%s /run/by-hand && ls /run/by-hand && umount /run/by-hand", address, volume))
}
