// Package story is the product's main job as a list of steps on a real cluster: from `kubectl apply` to bytes on disk
// and back. `make demo` tells it to a person, the end-to-end test asserts it; both run the very same steps, so the demo
// cannot promise what no test shows.
package story

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// patience is how long a step waits. It decides only when a claim counts as broken, so it is long: the nodes of a local cluster
// share the machine with whatever else runs there.
const patience = 10 * time.Minute

const (
	// Backend is the NFSBackend of config/samples.
	Backend = "shared"
	// Class is the StorageProfile of config/samples, and the StorageClass made from it.
	Class = "shared-rwx"
	claim = "demo"
	podA  = "demo-a"
	podB  = "demo-b"
)

// Story is one run through the steps.
type Story struct {
	// Kubectl reaches the cluster.
	Kubectl Kubectl
	// Repository is the root of the checkout: the manifests lie there.
	Repository string

	// Beats are the moments, in seconds of the node's clock, at which the writer of step "restart" had a write
	// acknowledged.
	Beats []float64
}

// Step is one claim of the product.
type Step struct {
	// Name says what is claimed.
	Name string
	// Run brings it about and returns what was observed, or why the claim does not hold.
	Run func(context.Context) (string, error)
}

// Steps are the claims in their order; each needs the ones before it.
func (s *Story) Steps() []Step {
	return []Step{
		{"operator installed", s.Install},
		{"NFSBackend Ready", s.backendReady},
		{"StorageClass present", s.classPresent},
		{"1Gi ReadWriteMany PVC Bound", s.claimBound},
		{"two pods on two nodes", s.podsRunning},
		{"both write and read the same files", s.filesShared},
		{"df in a pod says 1.0G", s.dfSays("1.0G")},
		{"a write past 1Gi is refused", s.sizeEnforced},
		{"PVC expanded to 2Gi while in use", s.expand},
		{"df in the same pod says 2.0G", s.dfSays("2.0G")},
		{"server pod deleted under a steady write", s.serverRestart},
		{"PVC deleted, volume gone, space back", s.deleteClaim},
	}
}

// SetUp brings about what all other steps need: the operator, and config/samples Ready.
func (s *Story) SetUp(ctx context.Context) error {
	if _, err := s.Install(ctx); err != nil {
		return err
	}
	_, err := s.backendReady(ctx)
	return err
}

// Install installs the operator and waits for its manager.
func (s *Story) Install(ctx context.Context) (string, error) {
	k := s.Kubectl
	if _, err := k.Run(ctx, "-n", names.DefaultNamespace, "apply", "--server-side", "-k", s.Repository+"/config/default"); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=condition=Established", "--timeout=600s", "crd",
		"nfsbackends.storage.nfs-operator.io", "storageprofiles.storage.nfs-operator.io", "nfsdrivers.storage.nfs-operator.io"); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "-n", names.DefaultNamespace, "rollout", "status", "deployment", "--timeout=600s"); err != nil {
		return "", err
	}
	return k.Run(ctx, "-n", names.DefaultNamespace, "get", "deployment", "-o", "jsonpath={range .items[*]}{.metadata.name} {.status.readyReplicas}/{.spec.replicas} {end}")
}

func (s *Story) backendReady(ctx context.Context) (string, error) {
	k := s.Kubectl
	if _, err := k.Run(ctx, "apply", "--server-side", "-k", s.Repository+"/config/samples"); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=condition=Ready", "--timeout=600s", "nfsbackend/"+Backend, "storageprofile/"+Class); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=condition=Ready", "--timeout=600s", "nfsdriver/default"); err != nil {
		return "", err
	}
	return k.Run(ctx, "get", "nfsbackend", Backend, "-o", "jsonpath=capacity {.status.capacity}, allocated {.status.allocated}, ganesha {.status.shards[0].ganeshaVersion} on {.status.shards[0].node}")
}

func (s *Story) classPresent(ctx context.Context) (string, error) {
	got, err := s.Kubectl.Run(ctx, "get", "storageclass", Class, "-o", "jsonpath={.provisioner} {.reclaimPolicy} {.volumeBindingMode} expansion={.allowVolumeExpansion}")
	if err != nil {
		return "", err
	}
	if want := names.Driver + " Delete Immediate expansion=true"; got != want {
		return "", fmt.Errorf("StorageClass is %q, want %q", got, want)
	}
	return got, nil
}

func (s *Story) claimBound(ctx context.Context) (string, error) {
	k := s.Kubectl
	if err := s.apply(ctx, claimManifest("1Gi")); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=jsonpath={.status.phase}=Bound", "--timeout=600s", "pvc/"+claim); err != nil {
		return "", err
	}
	return k.Run(ctx, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}, {.status.capacity.storage}")
}

func (s *Story) podsRunning(ctx context.Context) (string, error) {
	k := s.Kubectl
	if err := s.apply(ctx, podManifest(podA)+"---\n"+podManifest(podB)); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=condition=Ready", "--timeout=600s", "pod/"+podA, "pod/"+podB); err != nil {
		return "", err
	}
	nodes, err := k.Run(ctx, "get", "pod", podA, podB, "-o", "jsonpath={range .items[*]}{.spec.nodeName} {end}")
	if err != nil {
		return "", err
	}
	if n := strings.Fields(nodes); len(n) != 2 || n[0] == n[1] {
		return "", fmt.Errorf("pods are on %q, want two nodes", nodes)
	}
	return nodes, nil
}

func (s *Story) filesShared(ctx context.Context) (string, error) {
	k := s.Kubectl
	for _, way := range [][2]string{{podA, podB}, {podB, podA}} {
		from, to := way[0], way[1]
		sum, err := k.Shell(ctx, from, "head -c 4194304 /dev/urandom > /data/from-"+from+" && sync && sha256sum < /data/from-"+from)
		if err != nil {
			return "", err
		}
		got, err := k.Shell(ctx, to, "sha256sum < /data/from-"+from)
		if err != nil {
			return "", err
		}
		if got != sum {
			return "", fmt.Errorf("%s reads another content than %s wrote: %s, want %s", to, from, got, sum)
		}
	}
	return "4 MiB each way, checksums equal", nil
}

func (s *Story) dfSays(want string) func(context.Context) (string, error) {
	return func(ctx context.Context) (string, error) {
		return s.Kubectl.Until(ctx, patience, "df says "+want, func(got string) bool {
			fields := strings.Fields(got)
			return len(fields) > 0 && fields[0] == want
		}, "exec", podA, "--", "sh", "-c", "df -h /data | tail -n 1 | awk '{print $(NF-4), \"total,\", $(NF-3), \"used\"}'")
	}
}

func (s *Story) sizeEnforced(ctx context.Context) (string, error) {
	out, err := s.Kubectl.Shell(ctx, podA, "dd if=/dev/zero of=/data/big bs=1M count=1200 conv=fsync 2>&1 || true")
	if err != nil {
		return "", err
	}
	const refused = "No space left on device"
	if !strings.Contains(out, refused) {
		return "", fmt.Errorf("dd of 1200 MiB into a 1Gi volume said %q, want %q", out, refused)
	}
	// Allocated blocks, asked of the server by the other node: the writer's own idea of the file's length counts
	// bytes that the server has refused.
	used, err := s.Kubectl.Shell(ctx, podB, "du -k /data/big | cut -f1")
	if err != nil {
		return "", err
	}
	if kib, err := strconv.ParseInt(used, 10, 64); err != nil || kib > 1<<20 || kib < 1<<19 {
		return "", fmt.Errorf("the file takes %q KiB of a volume of %d KiB", used, 1<<20)
	}
	if _, err := s.Kubectl.Shell(ctx, podA, "rm /data/big && sync"); err != nil {
		return "", err
	}
	return fmt.Sprintf("%q, %s KiB written", refused, used), nil
}

func (s *Story) expand(ctx context.Context) (string, error) {
	k := s.Kubectl
	if _, err := k.Run(ctx, "patch", "pvc", claim, "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"2Gi"}}}}`); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=jsonpath={.status.capacity.storage}=2Gi", "--timeout=600s", "pvc/"+claim); err != nil {
		return "", err
	}
	return "status.capacity 2Gi", nil
}

// writer appends a numbered line with fsync and, once that is acknowledged, notes the node's clock beside it.
const writer = `i=0; rm -f /tmp/stop /tmp/beats /data/steady; touch /tmp/beats
while [ ! -e /tmp/stop ]; do i=$((i+1))
if echo "$i" | dd of=/data/steady oflag=append conv=notrunc,fsync 2>/tmp/error; then
read up idle < /proc/uptime; echo "$up $i" >> /tmp/beats
else echo "FAILED $i $(tr '\n' ' ' < /tmp/error)" >> /tmp/beats; fi; done; touch /tmp/stopped`

func (s *Story) serverRestart(ctx context.Context) (string, error) {
	k := s.Kubectl
	server := names.Shard(Backend, 0) + "-0"
	if _, err := k.Shell(ctx, podA, "rm -f /tmp/stopped; setsid sh -c '"+strings.ReplaceAll(writer, "'", `'\''`)+"' </dev/null >/dev/null 2>&1 &"); err != nil {
		return "", err
	}
	beats := []string{"exec", podA, "--", "sh", "-c", "wc -l < /tmp/beats"}
	if _, err := k.Until(ctx, patience, "the writer writes", atLeast(20), beats...); err != nil {
		return "", err
	}
	uid, err := k.Run(ctx, "-n", names.DefaultNamespace, "get", "pod", server, "-o", "jsonpath={.metadata.uid}")
	if err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "-n", names.DefaultNamespace, "delete", "pod", server, "--wait=false"); err != nil {
		return "", err
	}
	if _, err := k.Until(ctx, patience, "a new server pod is Ready", func(got string) bool {
		f := strings.Fields(got)
		return len(f) == 2 && f[0] != uid && f[1] == "True"
	}, "-n", names.DefaultNamespace, "get", "pod", server, "-o", `jsonpath={.metadata.uid} {.status.conditions[?(@.type=="Ready")].status}`); err != nil {
		return "", err
	}
	count, err := k.Run(ctx, beats...)
	if err != nil {
		return "", err
	}
	written, _ := strconv.Atoi(count)
	if _, err := k.Until(ctx, patience, "the writer goes on", atLeast(written+20), beats...); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "exec", podA, "--", "touch", "/tmp/stop"); err != nil {
		return "", err
	}
	if _, err := k.Until(ctx, patience, "the writer stops", func(string) bool { return true }, "exec", podA, "--", "test", "-e", "/tmp/stopped"); err != nil {
		return "", err
	}
	return s.judgeWriter(ctx)
}

func (s *Story) judgeWriter(ctx context.Context) (string, error) {
	log, err := s.Kubectl.Run(ctx, "exec", podA, "--", "cat", "/tmp/beats")
	if err != nil {
		return "", err
	}
	if s.Beats, err = parseBeats(log); err != nil {
		return "", err
	}
	// The other node reads what the first one wrote: every acknowledged line is there, in order, once.
	got, err := s.Kubectl.Shell(ctx, podB, `awk '$1 != NR {bad=1} END {print NR, bad+0}' /data/steady`)
	if err != nil {
		return "", err
	}
	if want := fmt.Sprintf("%d 0", len(s.Beats)); got != want {
		return "", fmt.Errorf("the file has (lines, faults) %s, want %s", got, want)
	}
	return fmt.Sprintf("%d writes, no error, longest gap %.1f s", len(s.Beats), longestGap(s.Beats)), nil
}

func (s *Story) deleteClaim(ctx context.Context) (string, error) {
	k := s.Kubectl
	allocated := []string{"get", "nfsbackend", Backend, "-o", "jsonpath={.status.allocated}"}
	text, err := k.Run(ctx, allocated...)
	if err != nil {
		return "", err
	}
	before, err := resource.ParseQuantity(text)
	if err != nil {
		return "", fmt.Errorf("status.allocated of the NFSBackend: %w", err)
	}
	volume, err := k.Run(ctx, "get", "pvc", claim, "-o", "jsonpath={.spec.volumeName}")
	if err != nil {
		return "", err
	}
	handle, err := k.Run(ctx, "get", "pv", volume, "-o", "jsonpath={.spec.csi.volumeHandle}")
	if err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "delete", "pod", podA, podB, "--timeout=600s"); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "delete", "pvc", claim, "--timeout=600s"); err != nil {
		return "", err
	}
	if _, err := k.Run(ctx, "wait", "--for=delete", "pv/"+volume, "--timeout=600s"); err != nil {
		return "", err
	}
	id := handle[strings.LastIndex(handle, "/")+1:]
	listing, err := k.Run(ctx, "-n", names.DefaultNamespace, "exec", names.Shard(Backend, 0)+"-0", "--", "ls", names.DataDir+"/volumes")
	if err != nil {
		return "", err
	}
	if strings.Contains(listing, id) {
		return "", fmt.Errorf("volume %s is still on the server", id)
	}
	_, err = k.Until(ctx, patience, "the 2Gi are free again", func(got string) bool {
		after, err := resource.ParseQuantity(got)
		return err == nil && before.Value()-after.Value() >= 2<<30
	}, allocated...)
	if err != nil {
		return "", err
	}
	after, err := k.Run(ctx, allocated...)
	return fmt.Sprintf("allocated %s, was %s", after, before.String()), err
}

func (s *Story) apply(ctx context.Context, manifest string) error {
	_, err := s.Kubectl.RunInput(ctx, manifest, "apply", "--server-side", "-f", "-")
	return err
}

func atLeast(n int) func(string) bool {
	return func(got string) bool {
		v, err := strconv.Atoi(strings.TrimSpace(got))
		return err == nil && v >= n
	}
}

// CleanUp removes what an earlier run that was interrupted left behind: the story's own pods and claim, nothing else.
func (s *Story) CleanUp(ctx context.Context) error {
	if _, err := s.Kubectl.Run(ctx, "delete", "pod", podA, podB, "--ignore-not-found", "--timeout=600s"); err != nil {
		return err
	}
	_, err := s.Kubectl.Run(ctx, "delete", "pvc", claim, "--ignore-not-found", "--timeout=600s")
	return err
}
