//go:build bench

package cluster

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/bench"
)

// used is what processes of one kind hold and have taken, on all nodes.
type used struct{ rssMiB, anonMiB, cpuSeconds float64 }

// lookScript prints of each process its first two arguments, resident and anonymous KiB, and ticks of CPU time.
const lookScript = `for p in /proc/[0-9]*; do
	s=$(cat $p/stat 2>/dev/null) || continue; s=${s##*) }; set -- $s
	a=$(tr '\0' ' ' < $p/cmdline 2>/dev/null | cut -d' ' -f1,2); [ -n "$a" ] || continue
	m=$(awk '/^VmRSS|^RssAnon/ {printf " %s", $2}' $p/status 2>/dev/null); [ -n "$m" ] || continue
	echo "${12} ${13}$m $a"
done`

const ticksPerSecond = 100 // USER_HZ, the same everywhere

// usage asks nodes themselves what the product's processes hold: a pod's figures hold what its pause container and the page
// cache do, too.
func (c client) usage(nodes ...string) map[string]used {
	c.t.Helper()
	all := map[string]used{}
	for _, node := range nodes {
		for line := range strings.Lines(c.onNode(node, "sh", "-c", lookScript)) {
			var numbers [4]float64
			fields := strings.Fields(line)
			if len(fields) < len(numbers)+1 {
				continue
			}
			for i := range numbers {
				numbers[i], _ = strconv.ParseFloat(fields[i], 64)
			}
			kind := processKind(fields[len(numbers):])
			u := all[kind]
			u.cpuSeconds += (numbers[0] + numbers[1]) / ticksPerSecond
			u.rssMiB += numbers[2] / 1024
			u.anonMiB += numbers[3] / 1024
			all[kind] = u
		}
	}
	return all
}

func processKind(args []string) string {
	program := args[0][strings.LastIndexByte(args[0], '/')+1:]
	switch {
	case program == "nfs-operator" && len(args) > 1:
		return args[1]
	case strings.HasPrefix(program, "csi-"):
		return "sidecars"
	default:
		return program
	}
}

func (c client) nodes() []string {
	c.t.Helper()
	return strings.Fields(c.do("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
}

// onNode runs a command on a node of test/cluster.
func (c client) onNode(node string, args ...string) string {
	c.t.Helper()
	return c.tool(append([]string{"node", "exec", node}, args...)...)
}

// tool runs the command that has made the cluster.
func (c client) tool(args ...string) string {
	c.t.Helper()
	tool, name := os.Getenv("E2E_CLUSTER_TOOL"), os.Getenv("E2E_CLUSTER")
	if tool == "" || name == "" {
		c.t.Fatal("E2E_CLUSTER_TOOL and E2E_CLUSTER name a cluster of test/cluster: run `hack/bench cluster`")
	}
	cmd := exec.CommandContext(c.t.Context(), tool, args...)
	cmd.Env = append(os.Environ(), "NFS_OPERATOR_CLUSTER="+name)
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("cluster %s: %v", strings.Join(args, " "), err)
	}
	return string(out)
}

func recordUsage(t *testing.T, how string, idle, busy map[string]used, claims int) {
	t.Helper()
	for kind, u := range busy {
		t.Logf("%s: resident %.1f MiB before, %.1f after; anonymous %.1f, %.1f; CPU %.2f s meanwhile",
			kind, idle[kind].rssMiB, u.rssMiB, idle[kind].anonMiB, u.anonMiB, u.cpuSeconds-idle[kind].cpuSeconds)
	}
	perClaim := func(kind string) float64 {
		return (busy[kind].cpuSeconds - idle[kind].cpuSeconds) * 1000 / float64(claims)
	}
	bench.Record(t, "manager_rss_mib_idle", "both replicas, before "+how, idle["manager"].rssMiB/2)
	bench.Record(t, "manager_rss_mib_loaded", "both replicas, after "+how, busy["manager"].rssMiB/2)
	bench.Record(t, "csi_controller_rss_mib_idle", "both replicas of our container, before "+how, idle["csi-controller"].rssMiB/2)
	bench.Record(t, "csi_controller_rss_mib_loaded", "both replicas of our container, after "+how, busy["csi-controller"].rssMiB/2)
	bench.Record(t, "csi_sidecars_rss_mib_idle", "both replicas, before "+how, idle["sidecars"].rssMiB/2)
	bench.Record(t, "csi_sidecars_rss_mib_loaded", "both replicas, after "+how, busy["sidecars"].rssMiB/2)
	bench.Record(t, "csi_controller_cpu_ms_per_pvc", how, perClaim("csi-controller"))
	bench.Record(t, "csi_sidecars_cpu_ms_per_pvc", how, perClaim("sidecars"))
	bench.Record(t, "agent_cpu_ms_per_pvc", "agent and Ganesha, "+how, perClaim("agent")+perClaim("ganesha.nfsd"))
}
