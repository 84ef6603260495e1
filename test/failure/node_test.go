//go:build e2e && long

package failure

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// nodePlugin is the name and UID of the csi-node pod of a node.
func (c cluster) nodePlugin(t *testing.T, node string) (name, uid string) {
	t.Helper()
	out := c.must(t, "-n", names.DefaultNamespace, "get", "pods", "-l", names.LabelComponent+"="+names.ComponentNode,
		"--field-selector", "spec.nodeName="+node, "-o", "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.metadata.deletionTimestamp}{'\\n'}{end}")
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) == 2 {
			return f[0], f[1]
		}
	}
	t.Fatalf("no csi-node pod on %s: %q", node, out)
	return "", ""
}

// TestNodePluginRestarts: replaced, as an upgrade does, and killed in the middle of a mount; the running pod sees nothing
// of it, and what was half done is repaired by the kubelet's next call.
func TestNodePluginRestarts(t *testing.T) {
	c := setUp(t)
	s := c.newBackend(t, "moving", "shared-block", "")
	node := c.otherNode(t, s.node(t))
	for _, claim := range []string{"plugin-old", "plugin-new"} {
		c.claim(t, claim, s)
	}
	t.Cleanup(func() {
		ctx, cancel := contextOf(long)
		defer cancel()
		_, _ = c.Run(ctx, "delete", "pod/plugin-old", "pod/plugin-new", "pvc/plugin-old", "pvc/plugin-new", "--ignore-not-found", "--timeout=120s")
	})
	c.apply(t, workloadPod("plugin-old", "plugin-old", node, "run", "/data"))
	c.running(t, "plugin-old")
	kinds := []string{"write", "open", "rename", "mkdir"}
	c.progress(t, "plugin-old", 10, kinds...)

	pod, uid := c.nodePlugin(t, node)
	c.must(t, "-n", names.DefaultNamespace, "delete", "pod", pod, "--timeout=120s")
	await(t, long, "another csi-node pod", func() error {
		if _, now := c.nodePlugin(t, node); now == uid {
			return fmt.Errorf("it is still %s", now)
		}
		return nil
	})
	pod, _ = c.nodePlugin(t, node)
	c.must(t, "-n", names.DefaultNamespace, "wait", "--for=condition=Ready", "--timeout=180s", "pod/"+pod)
	c.progress(t, "plugin-old", 10, kinds...)

	// The NFS port is silent, so the mount waits until the plugin dies under it.
	address := s.must(t, s.system("get", "service", names.Shard(s.backend, 0), "-o", "jsonpath={.spec.clusterIP}")...)
	drop := []string{"-d", address, "-p", "tcp", "--dport", fmt.Sprint(names.PortNFS), "-j", "DROP"}
	rule := func(verb string) {
		c.node(t, "exec", node, append([]string{"--", "iptables", "-t", "raw", verb, "OUTPUT"}, drop...)...)
	}
	rule("-I")
	dropped := true
	defer func() {
		if dropped {
			rule("-D")
		}
	}()
	c.apply(t, workloadPod("plugin-new", "plugin-new", node, "run", "/data"))
	await(t, long, "a mount waits", func() error {
		_, err := c.tryNode("exec", node, "--", "pgrep", "-f", "nfs-operator-mount mount")
		return err
	})
	c.node(t, "exec", node, "--", "pkill", "-9", "-f", "nfs-operator csi-node")
	rule("-D")
	dropped = false
	c.running(t, "plugin-new")
	c.progress(t, "plugin-new", 10, kinds...)
	c.progress(t, "plugin-old", 10, kinds...)
	c.must(t, "delete", "pod/plugin-old", "pod/plugin-new", "--timeout=120s")
	s.noMounts(t, node)
}

// noMounts waits until a node has no volume of the server mounted.
func (s server) noMounts(t *testing.T, node string) {
	t.Helper()
	address := s.must(t, s.system("get", "service", names.Shard(s.backend, 0), "-o", "jsonpath={.spec.clusterIP}")...)
	await(t, short, "no volume is mounted on "+node, func() error {
		if mounts := s.nfsMounts(t, node, address); len(mounts) > 0 {
			return fmt.Errorf("%q", mounts)
		}
		return nil
	})
}

// TestClientNodeLosesPower: the kubelet of a node that comes back starts one pod again, and removes another that was
// deleted meanwhile.
func TestClientNodeLosesPower(t *testing.T) {
	c := setUp(t)
	s := c.newBackend(t, "moving", "shared-block", "")
	node := c.otherNode(t, s.node(t))
	for _, name := range []string{"client-stays", "client-goes"} {
		c.claim(t, name, s)
		c.apply(t, workloadPod(name, name, node, "run", "/data"))
	}
	t.Cleanup(func() {
		ctx, cancel := contextOf(long)
		defer cancel()
		_, _ = c.Run(ctx, "delete", "pod/client-stays", "pod/client-goes", "pvc/client-stays", "pvc/client-goes", "--ignore-not-found", "--timeout=120s")
	})
	for _, name := range []string{"client-stays", "client-goes"} {
		c.running(t, name)
		c.progress(t, name, 10, "write", "mkdir")
	}
	c.node(t, "stop", node)
	c.must(t, "delete", "pod", "client-goes", "--wait=false")
	c.node(t, "start", node)
	c.must(t, "wait", "--for=delete", "--timeout=300s", "pod/client-goes")
	await(t, long, "the pod that stays goes on", func() error {
		r, err := c.ask(t, "client-stays", "report")
		if err == nil && r.acked("mkdir") < 5 {
			err = fmt.Errorf("report %+v", r)
		}
		return err
	})
	c.must(t, "delete", "pod/client-stays", "--timeout=120s")
	s.noMounts(t, node)
	c.must(t, "delete", "pvc/client-stays", "pvc/client-goes", "--timeout=180s")
}
