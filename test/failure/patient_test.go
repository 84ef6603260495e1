//go:build e2e && long

package failure

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// report is what the workload says of itself; see the command workload.
type report struct {
	Now   time.Time
	Kinds map[string]*struct {
		Acked   int64
		Longest float64
		Gaps    []struct {
			Begin   time.Time
			Seconds float64
		}
		Last time.Time
	}
	Errors, Replayed []string
	Stolen           int64
}

func (r report) acked(kind string) int64 {
	if k := r.Kinds[kind]; k != nil {
		return k.Acked
	}
	return 0
}

func (r report) longest(kinds ...string) (longest float64) {
	for _, kind := range kinds {
		if k := r.Kinds[kind]; k != nil {
			longest = max(longest, k.Longest)
		}
	}
	return longest
}

// patient is a volume with a writer on one node and a contender for its locks on another.
type patient struct {
	cluster
	name              string
	writer, contender string // pods
}

func workloadImage() string {
	if image := setting("WORKLOAD_IMAGE"); image != "" {
		return image
	}
	return "ghcr.io/nfs-operator/test-workload:dev"
}

func workloadPod(name, claim, node string, command ...string) string {
	args, _ := json.Marshal(command)
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeName: %s
  terminationGracePeriodSeconds: 1
  tolerations: [{operator: Exists}]
  containers:
  - name: workload
    image: %s
    imagePullPolicy: IfNotPresent
    args: %s
    volumeMounts: [{name: data, mountPath: /data}, {name: tmp, mountPath: /tmp}]
  volumes:
  - name: data
    persistentVolumeClaim: {claimName: %s}
  - name: tmp
    emptyDir: {}
`, name, node, workloadImage(), args, claim)
}

func claimOf(name, class string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  storageClassName: %s
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 512Mi}}
`, name, class)
}

// claim makes a volume on a server. A pod that comes before it is bound is looked at again much later.
func (c cluster) claim(t *testing.T, name string, s server) {
	t.Helper()
	c.apply(t, claimOf(name, s.backend))
	c.must(t, "wait", "--for=jsonpath={.status.phase}=Bound", "--timeout=180s", "pvc/"+name)
}

// newPatient starts the workload on a volume of the server: the writer on a node that is not the server's.
func newPatient(t *testing.T, s server, name string) patient {
	t.Helper()
	p := patient{s.cluster, name, name + "-writer", name + "-contender"}
	away := s.otherNode(t, s.node(t))
	t.Cleanup(func() { p.remove(t) })
	p.claim(t, name, s)
	p.apply(t, workloadPod(p.writer, name, away, "run", "/data"))
	p.running(t, p.writer)
	p.apply(t, workloadPod(p.contender, name, s.node(t), "contend", "/data"))
	p.running(t, p.contender)
	p.progress(t, p.writer, 20, "write")
	p.progress(t, p.contender, 3, "lock")
	return p
}

func (p patient) remove(t *testing.T) {
	t.Helper()
	if t.Failed() && os.Getenv("E2E_KEEP") != "" {
		return
	}
	ctx, cancel := contextOf(long)
	defer cancel()
	if _, err := p.Run(ctx, "delete", "pod/"+p.writer, "pod/"+p.contender, "pvc/"+p.name, "--ignore-not-found", "--timeout=120s"); err != nil {
		t.Error(err)
	}
}

func (c cluster) running(t *testing.T, pod string) {
	t.Helper()
	c.must(t, "wait", "--for=condition=Ready", "--timeout=180s", "pod/"+pod)
}

func (c cluster) ask(t *testing.T, pod, question string) (report, error) {
	t.Helper()
	var r report
	out, err := c.Run(t.Context(), "exec", pod, "--", "/workload", "ask", question)
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal([]byte(out), &r)
}

// progress waits until the pod has had n more operations of each kind acknowledged, and returns its report.
func (c cluster) progress(t *testing.T, pod string, n int64, kinds ...string) (r report) {
	t.Helper()
	first := true
	var wanted map[string]int64
	await(t, long, fmt.Sprintf("%s: %d more of %v", pod, n, kinds), func() (err error) {
		if r, err = c.ask(t, pod, "report"); err != nil {
			return err
		}
		if len(r.Errors) > 0 {
			t.Fatalf("%s saw errors: %s", pod, strings.Join(r.Errors, "\n"))
		}
		if first {
			first, wanted = false, map[string]int64{}
			for _, kind := range kinds {
				wanted[kind] = r.acked(kind) + n
			}
		}
		for _, kind := range kinds {
			if got := r.acked(kind); got < wanted[kind] {
				return fmt.Errorf("%d of %d of kind %s", got, wanted[kind], kind)
			}
		}
		return nil
	})
	return r
}

// worthALine is how long a wait has to be to be logged, in seconds; a busy machine makes many short ones.
const worthALine = 5

// survive makes something happen and proves that the patient waited, and lost nothing. It returns what it reports.
func (p patient) survive(t *testing.T, happen func()) report {
	t.Helper()
	for _, pod := range []string{p.writer, p.contender} {
		if _, err := p.ask(t, pod, "mark"); err != nil {
			t.Fatal(err)
		}
	}
	happen()
	r := p.progress(t, p.writer, 10, "write", "open", "rename", "mkdir")
	c := p.progress(t, p.contender, 5, "lock")
	if c.Stolen != 0 {
		t.Errorf("the contender got %d locks that the writer holds", c.Stolen)
	}
	verify := []string{"exec", p.contender, "--", "/workload", "verify", "/data"}
	for kind, k := range r.Kinds {
		verify = append(verify, fmt.Sprintf("%s=%d", kind, k.Acked))
	}
	out, err := p.Run(t.Context(), verify...)
	if err != nil {
		t.Errorf("acknowledged, but not there: %v", err)
	}
	t.Logf("%s; %v", out, r.Replayed)
	for _, kind := range []string{"write", "open", "rename", "mkdir"} {
		for _, g := range r.Kinds[kind].Gaps {
			if g.Seconds < worthALine {
				continue
			}
			t.Logf("%s: %.1f s from %s", kind, g.Seconds, g.Begin.UTC().Format("15:04:05.000"))
		}
	}
	return r
}

// row is one line of the table at the end.
type row struct {
	event             string
	write, open, lock float64
	note              string
}

var table []row

func note(event string, r report, text string) {
	table = append(table, row{event, r.longest("write"), r.longest(made...), r.longest("lock"), text})
}

func printTable() {
	if len(table) == 0 {
		return
	}
	fmt.Printf("%-44s %9s %9s  %s\n", "longest wait, in seconds", "write", "open", "")
	for _, r := range slices.Clone(table) {
		fmt.Printf("%-44s %9.1f %9.1f  %s\n", r.event, r.write, r.open, r.note)
	}
}
