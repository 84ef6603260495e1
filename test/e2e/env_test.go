//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// env is a test's own namespace. Its methods fail the test when kubectl fails.
type env struct {
	story.Kubectl
	t *testing.T
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// newEnv sets the cluster up, if nobody has yet, and makes a namespace for the test. At the end all that is in it is
// deleted, and the test fails if a PersistentVolume of it stays. When the test has failed, it says what explains it.
func newEnv(t *testing.T) *env {
	t.Helper()
	setUp(t)
	test := strings.Trim(notInName.ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-"), "-")
	// The time tells it from what an earlier run of the same test may have left.
	namespace := fmt.Sprintf("e2e-%.40s-%s", test, strconv.FormatInt(time.Now().UnixMilli()%1e8, 36))
	e := &env{Kubectl: kubectl(t, namespace), t: t}
	e.do("create", "namespace", namespace)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(e.Diagnose())
		}
		if os.Getenv("E2E_KEEP") == "1" && t.Failed() {
			return
		}
		e.cleanUp()
	})
	return e
}

// name is a name for a cluster-wide object of this test.
func (e *env) name(suffix string) string { return e.Namespace + "-" + suffix }

func (e *env) cleanUp() {
	k := e.Kubectl
	ctx, cancel := cleanUpContext()
	defer cancel()
	if _, err := k.Run(ctx, "delete", "namespace", e.Namespace, "--timeout=600s"); err != nil {
		e.t.Errorf("clean up: %v\n%s", err, k.Diagnose())
		return
	}
	if _, err := k.Until(ctx, 10*time.Minute, "no PersistentVolume of "+e.Namespace+" is left", func(got string) bool {
		return !strings.Contains(got, e.Namespace+"/")
	}, "get", "persistentvolumes", "-o", `jsonpath={range .items[*]}{.spec.claimRef.namespace}/{.metadata.name} {.status.phase}{"\n"}{end}`); err != nil {
		e.t.Errorf("clean up: %v\n%s", err, k.Diagnose())
	}
}

// do runs kubectl in the namespace and returns what it printed.
func (e *env) do(args ...string) string {
	e.t.Helper()
	out, err := e.Run(e.t.Context(), args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// refused runs kubectl, which must fail, and returns why it did.
func (e *env) refused(input string, args ...string) string {
	e.t.Helper()
	_, err := e.RunInput(e.t.Context(), input, args...)
	if err == nil {
		e.t.Fatalf("kubectl %s: accepted", strings.Join(args, " "))
	}
	return err.Error()
}

// apply applies YAML text.
func (e *env) apply(manifest string) {
	e.t.Helper()
	if _, err := e.RunInput(e.t.Context(), manifest, "apply", "--server-side", "-f", "-"); err != nil {
		e.t.Fatal(err)
	}
}

// create applies objects of the API.
func (e *env) create(objects ...any) {
	e.t.Helper()
	var manifest strings.Builder
	for _, o := range objects {
		text, err := json.Marshal(o)
		if err != nil {
			e.t.Fatal(err)
		}
		manifest.WriteString("---\n" + string(text) + "\n")
	}
	e.apply(manifest.String())
}

// get reads one field of an object: get("pvc/data", "{.spec.volumeName}").
func (e *env) get(object, jsonpath string) string {
	e.t.Helper()
	return e.do("get", object, "-o", "jsonpath="+jsonpath)
}

// await waits until a question to kubectl has an answer that is accepted; what is the wish, for the error.
func (e *env) await(what string, accept func(string) bool, args ...string) string {
	e.t.Helper()
	answer, err := e.Until(e.t.Context(), 10*time.Minute, what, accept, args...)
	if err != nil {
		e.t.Fatal(err)
	}
	return answer
}

// bound waits until claims are bound and returns the volume of the last.
func (e *env) bound(claims ...string) string {
	e.t.Helper()
	for _, c := range claims {
		e.do("wait", "--for=jsonpath={.status.phase}=Bound", "--timeout=600s", "pvc/"+c)
	}
	return e.get("pvc/"+claims[len(claims)-1], "{.spec.volumeName}")
}

// ready waits until pods are ready.
func (e *env) ready(pods ...string) {
	e.t.Helper()
	args := []string{"wait", "--for=condition=Ready", "--timeout=600s"}
	for _, p := range pods {
		args = append(args, "pod/"+p)
	}
	e.do(args...)
}

// shell runs a script in a pod and returns what it printed.
func (e *env) shell(pod, script string) string {
	e.t.Helper()
	out, err := e.Shell(e.t.Context(), pod, script)
	if err != nil {
		e.t.Fatal(err)
	}
	return out
}

// event waits until an object ("pod/a") has an event whose message contains a text, and returns the message.
func (e *env) event(object, text string) string {
	e.t.Helper()
	kind, name, _ := strings.Cut(object, "/")
	kinds := map[string]string{"pod": "Pod", "pvc": "PersistentVolumeClaim", "volumesnapshot": "VolumeSnapshot"}
	return e.await(fmt.Sprintf("an event of %s says %q", object, text), func(got string) bool { return strings.Contains(got, text) },
		"get", "events", "--field-selector", "involvedObject.kind="+kinds[kind]+",involvedObject.name="+name, "-o", `jsonpath={range .items[*]}{.message}{"\n"}{end}`)
}

// server runs a script in the server pod of shard 0 of the backend of config/samples.
func (e *env) server(script string) string {
	e.t.Helper()
	return e.do("-n", systemNamespace, "exec", serverPod, "--", "sh", "-c", script)
}

// is accepts exactly one answer.
func is(want string) func(string) bool { return func(got string) bool { return got == want } }
