//go:build e2e && long

// Package uninstall takes the operator away from under a pod that writes, in every order, and gets the data back: what
// docs/uninstall.md says. `hack/test uninstall` brings a cluster up for it, of which nothing is left at the end.
package uninstall

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// patience is long: the nodes of a local cluster share the machine with whatever else runs there.
const patience = 10 * time.Minute

// site is a cluster with the operator on it, and a pod that writes.
type site struct {
	story.Kubectl
	story *story.Story
	t     *testing.T
}

func TestUninstall(t *testing.T) {
	k := story.Kubectl{Program: os.Getenv("E2E_KUBECTL"), Kubeconfig: os.Getenv("E2E_KUBECONFIG"), Namespace: "default"}
	if k.Program == "" || k.Kubeconfig == "" {
		t.Fatal("E2E_KUBECONFIG and E2E_KUBECTL name the cluster: run `hack/test uninstall`")
	}
	s := &site{Kubectl: k, story: &story.Story{Kubectl: k, Repository: "../.."}, t: t}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(k.Diagnose())
		}
	})
	if err := s.story.SetUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.apply(workload)
	s.do("wait", "--for=condition=Ready", "--timeout=600s", "pod/writer")
	s.writesOn("the start")
	s.await("the backend is in use", "True", "get", "nfsbackend", story.Backend, "-o", `jsonpath={.status.conditions[?(@.type=="InUse")].status}`)
	for _, part := range []struct {
		name string
		run  func(*site)
	}{
		{"the operator alone, and installed again", (*site).operatorAlone},
		{"a deletion of the backend, taken back", (*site).deletionTakenBack},
		{"everything at once while in use", (*site).everythingWhileInUse},
		{"the namespace alone, past its guard", (*site).namespaceAlone},
		{"the namespace and all definitions, by force", (*site).byForce},
		{"everything for good", (*site).forGood},
	} {
		if !t.Run(part.name, func(t *testing.T) {
			of := *s
			of.t = t
			part.run(&of)
		}) {
			return // each begins where the one before ends
		}
	}
}

// The pod survives nothing by itself: a restart of it would read the volume anew, and hide an error.
const workload = `apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec:
  storageClassName: ` + story.Class + `
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 1Gi}}
---
` + writer

const writer = `apiVersion: v1
kind: Pod
metadata: {name: writer}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 1
  containers:
  - name: shell
    image: ` + story.TestImage + `
    imagePullPolicy: IfNotPresent
    command: [sh, -ec, 'n=$(tail -n 1 /data/log 2>/dev/null || echo 0); while true; do n=$((n+1)); echo $n >> /data/log; sync /data/log; echo $n > /tmp/written; sleep 0.2; done']
    volumeMounts: [{name: data, mountPath: /data}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: data}}]
`

func (s *site) operatorAlone() {
	s.do("-n", names.DefaultNamespace, "delete", "deployment", "nfs-operator-manager", "--timeout=300s")
	s.writesOn("the operator was deleted")
	s.install()
	s.backendReady()
	s.writesOn("it was installed again")
}

func (s *site) deletionTakenBack() {
	address := s.address()
	saved := s.saved()
	s.do("annotate", "nfsbackend", story.Backend, names.AnnotationAllowDeletion+"="+story.Backend)
	s.do("delete", "nfsbackend", story.Backend, "--wait=false")
	s.await("the deletion waits", "DeletionBlocked", "get", "nfsbackend", story.Backend, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].reason}`)
	s.do("-n", names.DefaultNamespace, "scale", "deployment", "nfs-operator-manager", "--replicas=0")
	s.await("the operator has stopped", "", "-n", names.DefaultNamespace, "get", "pod", "-l", "app.kubernetes.io/component=manager", "-o", "name")
	s.letGo("nfsbackend", story.Backend)
	s.apply(saved)
	s.do("-n", names.DefaultNamespace, "scale", "deployment", "nfs-operator-manager", "--replicas=2")
	s.backendReady()
	if got := s.address(); got != address {
		s.t.Errorf("the address was %s and is %s", address, got)
	}
	s.writesOn("the deletion was taken back")
}

// everythingWhileInUse is `make uninstall` too early.
func (s *site) everythingWhileInUse() {
	out, err := s.Run(s.t.Context(), uninstall("--timeout=300s")...)
	if err == nil {
		s.t.Fatalf("everything was deleted while in use:\n%s", out)
	}
	for _, what := range []string{"namespaces", "customresourcedefinitions"} {
		if !strings.Contains(err.Error(), what) {
			s.t.Errorf("the refusal does not speak of %s: %v", what, err)
		}
	}
	s.t.Logf("refused: %v", err)
	s.writesOn("everything was deleted that was not refused")
	s.install()
	s.backendReady()
	s.volumesAreMade("made-again")
	s.writesOn("it was installed again")
}

// namespaceAlone: the servers go with their namespace, and what is written waits. The disks and the addresses hold the namespace up
// until somebody lets go of them; the operator installed again serves the same disk at the same address, and the writer goes on.
func (s *site) namespaceAlone() {
	address, claim, service := s.address(), names.DataClaim(story.Backend, 0), names.Shard(story.Backend, 0)
	inNamespace := func(args ...string) { s.do(append([]string{"-n", names.DefaultNamespace}, args...)...) }
	s.do("annotate", "namespace", names.DefaultNamespace, names.AnnotationAllowDeletion+"="+names.DefaultNamespace)
	s.do("delete", "namespace", names.DefaultNamespace, "--wait=false")
	s.await("the servers are gone", "", "-n", names.DefaultNamespace, "get", "pods,statefulsets", "-o", "name")
	if got := s.do("-n", names.DefaultNamespace, "get", "pvc", claim, "-o", "jsonpath={.status.phase}") + " " + s.address(); got != "Bound "+address {
		s.t.Errorf("the disk and the address of a namespace that is being deleted: %s, want Bound %s", got, address)
	}
	last := s.written()
	for _, object := range []string{"pvc/" + claim, "service/" + service} {
		_, name, _ := strings.Cut(object, "/")
		inNamespace("annotate", object, names.AnnotationAllowDeletion+"="+name)
	}
	inNamespace("patch", "pvc", claim, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	s.await("the namespace is gone", "", "get", "namespace", names.DefaultNamespace, "--ignore-not-found", "-o", "name")
	if now := s.written(); now > last+1 {
		s.t.Errorf("without its server the writer went on from %d to %d", last, now)
	}
	s.install()
	s.backendReady()
	if got := s.address(); got != address {
		s.t.Errorf("the address was %s and is %s", address, got)
	}
	s.writesOn("the namespace was deleted and made anew")
	s.volumesAreMade("made-after-the-namespace")
}

// byForce is what somebody does who means it, or does not read: again and again until nothing refuses.
func (s *site) byForce() {
	saved, last := s.saved(), s.written()
	// The first time takes the policies away that refuse; the API server forgets them a moment later.
	if _, err := s.Until(s.t.Context(), patience, "nothing is refused", func(string) bool { return true }, uninstall("--wait=false")...); err != nil {
		s.t.Fatal(err)
	}
	s.await("the namespace is being deleted", "Terminating", "get", "namespace", names.DefaultNamespace, "-o", "jsonpath={.status.phase}")
	claim := names.DataClaim(story.Backend, 0)
	s.await("the claim of the disk is being deleted", "true", "-n", names.DefaultNamespace, "get", "pvc", claim, "-o",
		`go-template={{if .metadata.deletionTimestamp}}true{{end}}`)
	s.do("delete", "pod", "writer", "--force", "--grace-period=0", "--timeout=300s")
	s.do("-n", names.DefaultNamespace, "patch", "pvc", claim, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`)
	s.await("the namespace is gone", "", "get", "namespace", names.DefaultNamespace, "--ignore-not-found", "-o", "name")
	for _, object := range []string{"nfsbackend/" + story.Backend, "nfsdriver/default"} {
		kind, name, _ := strings.Cut(object, "/")
		s.letGo(kind, name)
	}
	s.await("the definitions are gone", "", "get", "crd", "nfsbackends.storage.nfs-operator.io", "nfsdrivers.storage.nfs-operator.io",
		"storageprofiles.storage.nfs-operator.io", "--ignore-not-found", "-o", "name")
	s.await("the disk is kept", "Released Retain", "get", "pv", "-l", names.LabelBackend+"="+story.Backend, "-o",
		"jsonpath={.items[0].status.phase} {.items[0].spec.persistentVolumeReclaimPolicy}")

	s.install()
	s.apply(saved)
	s.do("apply", "--server-side", "-k", "../../config/samples")
	s.backendReady()
	s.apply(writer)
	s.do("wait", "--for=condition=Ready", "--timeout=600s", "pod/writer")
	s.writesOn("everything was made anew")
	lines := strings.Fields(s.do("exec", "writer", "--", "head", "-n", strconv.Itoa(last), "/data/log"))
	if len(lines) != last || lines[0] != "1" || lines[last-1] != strconv.Itoa(last) {
		s.t.Errorf("%d writes were acknowledged, %d are there", last, len(lines))
	}
}

func (s *site) forGood() {
	s.do("delete", "pod", "writer", "--timeout=300s")
	s.do("delete", "storageprofiles", "--all", "--timeout=300s")
	s.do("delete", "pvc", "data", "made-again", "made-after-the-namespace", "--timeout=600s")
	s.await("the volumes are gone", "", "get", "pv", "-o", `jsonpath={range .items[?(@.spec.csi.driver=="`+names.Driver+`")]}{.metadata.name} {end}`)
	s.do("patch", "nfsbackend", story.Backend, "--type=merge", "-p", `{"spec":{"deletionPolicy":"Delete"}}`)
	s.await("the backend is empty", "False", "get", "nfsbackend", story.Backend, "-o", `jsonpath={.status.conditions[?(@.type=="InUse")].status}`)
	s.do("delete", "nfsbackends", "--all", "--timeout=600s")
	s.do("delete", "nfsdriver", "default", "--timeout=600s")
	s.do(uninstall("--timeout=600s")...)
	for _, kind := range []string{
		"namespaces", "crd", "csidriver", "storageclass", "clusterrole", "clusterrolebinding", "validatingadmissionpolicy",
		"validatingadmissionpolicybinding", "priorityclass",
	} {
		for _, object := range strings.Fields(s.do("get", kind, "-o", "name")) {
			if strings.Contains(object, "nfs-operator") || strings.Contains(object, story.Class) {
				s.t.Errorf("%s is left", object)
			}
		}
	}
}

// uninstall is what `make uninstall` does, as far as it is not refused.
func uninstall(more ...string) []string {
	return append([]string{"-n", names.DefaultNamespace, "delete", "-k", "../../config/default", "--ignore-not-found"}, more...)
}

// letGo takes the finalizers of an object away, which is gone then.
func (s *site) letGo(kind, name string) {
	s.t.Helper()
	if _, err := s.Run(s.t.Context(), "patch", kind, name, "--type=merge", "-p", `{"metadata":{"finalizers":null}}`); err != nil && !strings.Contains(err.Error(), "not found") {
		s.t.Fatal(err)
	}
	if _, err := s.Until(s.t.Context(), patience, kind+" "+name+" is gone", func(string) bool { return true }, "wait", "--for=delete", kind+"/"+name, "--timeout=60s"); err != nil &&
		!strings.Contains(err.Error(), "the server doesn't have a resource type") {
		s.t.Fatal(err)
	}
}

// saved is the backend as one would keep it in a file.
func (s *site) saved() string {
	s.t.Helper()
	var object map[string]any
	if err := yaml.Unmarshal([]byte(s.do("get", "nfsbackend", story.Backend, "-o", "yaml")), &object); err != nil {
		s.t.Fatal(err)
	}
	metadata, _ := object["metadata"].(map[string]any)
	for _, field := range []string{"uid", "resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "finalizers", "managedFields", "creationTimestamp", "generation"} {
		delete(metadata, field)
	}
	delete(object, "status")
	text, err := yaml.Marshal(object)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

func (s *site) address() string {
	s.t.Helper()
	return s.do("-n", names.DefaultNamespace, "get", "service", names.Shard(story.Backend, 0), "-o", "jsonpath={.spec.clusterIP}")
}

func (s *site) install() {
	s.t.Helper()
	if _, err := s.story.Install(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) backendReady() {
	s.t.Helper()
	s.await("the backend is Ready", "1/1 True", "get", "nfsbackend", story.Backend, "-o",
		`jsonpath={.status.servingShards} {.status.conditions[?(@.type=="Ready")].status}`)
}

// volumesAreMade shows that the CSI controller works.
func (s *site) volumesAreMade(claim string) {
	s.t.Helper()
	s.apply(fmt.Sprintf(`{"apiVersion":"v1","kind":"PersistentVolumeClaim","metadata":{"name":%q},"spec":{"storageClassName":%q,`+
		`"accessModes":["ReadWriteMany"],"resources":{"requests":{"storage":"64Mi"}}}}`, claim, story.Class))
	s.await("a claim is bound", "Bound", "get", "pvc", claim, "-o", "jsonpath={.status.phase}")
}

func (s *site) written() int {
	s.t.Helper()
	n, err := strconv.Atoi(s.do("exec", "writer", "--", "cat", "/tmp/written"))
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

// writesOn waits until the writer has gone on. An error would have ended its pod.
func (s *site) writesOn(after string) {
	s.t.Helper()
	before := 0
	if after != "the start" {
		before = s.written()
	}
	if _, err := s.Until(s.t.Context(), patience, "the writer goes on after "+after, func(got string) bool {
		n, err := strconv.Atoi(got)
		return err == nil && n > before+3
	}, "exec", "writer", "--", "cat", "/tmp/written"); err != nil {
		s.t.Fatal(err)
	}
	s.t.Logf("the writer goes on: %s", after)
}

func (s *site) do(args ...string) string {
	s.t.Helper()
	out, err := s.Run(s.t.Context(), args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

func (s *site) apply(manifest string) {
	s.t.Helper()
	if _, err := s.RunInput(s.t.Context(), manifest, "apply", "--server-side", "--force-conflicts", "-f", "-"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) await(what, want string, args ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	if _, err := s.Until(ctx, patience, what, func(got string) bool { return got == want }, args...); err != nil {
		s.t.Fatal(err)
	}
}
