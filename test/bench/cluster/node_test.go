//go:build bench

package cluster

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const volumesOfPod = 50

// TestNode measures what a node has to hold: containers, images, and the node plugin with 50 volumes mounted.
func TestNode(t *testing.T) {
	k := newNamespace(t, "bench-node")
	c := k.client()
	node := c.withoutServer()
	c.recordImages(node)
	k.apply(manyVolumes(node))
	k.do("wait", "--for=condition=Ready", "--timeout=1200s", "pod/many")
	var rss, anon []float64
	for range 3 {
		u := c.usage(node)["csi-node"]
		rss, anon = append(rss, u.rssMiB), append(anon, u.anonMiB)
		time.Sleep(5 * time.Second) // what it holds varies
	}
	how := fmt.Sprintf("VmRSS and RssAnon of the plugin's process with %d volumes mounted, three moments", volumesOfPod)
	bench.Record(t, "csi_node_rss_mib", how, rss...)
	bench.Record(t, "csi_node_anon_mib", how, anon...)

	c.tool("node", "stop", node)
	c.tool("node", "start", node)
	bench.Record(t, "restage_50_s", "from the first volume mounted on the node after a loss of power to the last, for one pod", c.timeMounts(node).Seconds())
}

// withoutServer is a node on which no NFS server runs.
func (c client) withoutServer() string {
	c.t.Helper()
	taken := strings.Fields(c.do("-n", names.DefaultNamespace, "get", "pods", "-l", names.LabelComponent+"="+names.ComponentServer,
		"-o", "jsonpath={.items[*].spec.nodeName}"))
	for _, node := range c.nodes() {
		if !slices.Contains(taken, node) {
			return node
		}
	}
	c.t.Fatal("every node runs a server: the cluster needs one more")
	return ""
}

// timeMounts waits until all volumes of the pod are staged.
func (c client) timeMounts(node string) time.Duration {
	c.t.Helper()
	var first time.Time
	for end := time.Now().Add(15 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		staged, err := strconv.Atoi(strings.TrimSpace(c.onNode(node, "sh", "-c", "grep ' /var/lib/kubelet/[^ ]*globalmount nfs4' /proc/mounts | sort -u | wc -l")))
		if err != nil {
			c.t.Fatal(err)
		}
		if staged > 0 && first.IsZero() {
			first = time.Now()
		}
		if staged == volumesOfPod {
			return time.Since(first)
		}
	}
	c.t.Fatalf("not all of %d volumes are staged within 15 minutes\n%s", volumesOfPod, c.Diagnose())
	return 0
}

// manyVolumes is a pod with many volumes, and their claims.
func manyVolumes(node string) string {
	var claims, mounts, volumes strings.Builder
	for i := range volumesOfPod {
		claims.WriteString(strings.Replace(claim(fmt.Sprintf("many-%d", i)), "64Mi", "1Mi", 1))
		fmt.Fprintf(&mounts, "    - {name: v%d, mountPath: /data/%d}\n", i, i)
		fmt.Fprintf(&volumes, "  - {name: v%d, persistentVolumeClaim: {claimName: many-%d}}\n", i, i)
	}
	text := pod("many", "emptyDir: {}", node, "exec sleep infinity")
	text = strings.Replace(text, "    volumeMounts: [{name: data, mountPath: /data}]\n", "    volumeMounts:\n"+mounts.String(), 1)
	text, _, _ = strings.Cut(text, "  - name: data\n")
	return claims.String() + text + volumes.String()
}

// recordImages counts what each node runs and has to pull for the driver.
func (c client) recordImages(node string) {
	c.t.Helper()
	containers := c.do("-n", names.DefaultNamespace, "get", "daemonset", names.ComponentNode, "-o", "jsonpath={.spec.template.spec.containers[*].name}")
	bench.Record(c.t, "node_containers", "containers of the DaemonSet", float64(len(strings.Fields(containers))))
	var status corev1.NodeStatus
	if err := json.Unmarshal([]byte(c.do("get", "node", node, "-o", "jsonpath={.status}")), &status); err != nil {
		c.t.Fatal(err)
	}
	for _, image := range []struct{ part, key string }{{"/nfs-operator:", "node_image_mib"}, {"/nfs-server:", "server_image_mib"}} {
		size := int64(0)
		for _, i := range status.Images {
			if strings.Contains(strings.Join(i.Names, " "), image.part) {
				size = i.SizeBytes
			}
		}
		if size == 0 {
			c.t.Fatalf("node %s has no image %s", node, image.part)
		}
		bench.Record(c.t, image.key, "as the node's status says: unpacked", float64(size)/(1<<20))
	}
}
