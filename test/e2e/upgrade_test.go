//go:build e2e && long

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// TestUpgrade installs another version of the operator under a pod that writes, and the former one again: the CSI driver follows, then the
// servers of all backends, one at a time. The status says from which version to which.
func TestUpgrade(t *testing.T) {
	e := newEnv(t)
	nodes := e.nodes()
	former := e.get("nfsdriver/default", "{.status.version}")
	next := former + "-next"
	e.loadVersion(next)

	backend := e.backend(onDisks(2, "2Gi"))
	e.backendReady(backend)
	class := e.profile("two", onBackend(backend))
	e.create(newClaim("data", ofClass(class)), newClaim("other"))
	e.bound("data")
	e.create(newClaim("more", ofClass(class), ofSize("1Gi")),
		newPod("writer", "data", on(nodes[0])), newPod("second", "more", on(nodes[1])), newPod("third", "other", on(nodes[0])))
	e.ready("writer", "second", "third")
	writers := []string{"writer", "second", "third"}
	for _, pod := range writers {
		e.shell(pod, writer)
		e.writesOn(pod, "the start")
	}
	t.Cleanup(func() { // the tests after this one want the version that they were started with
		ctx, cancel := cleanUpContext()
		defer cancel()
		if _, err := e.Run(ctx, "-n", systemNamespace, "apply", "--server-side", "-k", repository+"/config/default"); err != nil {
			t.Error(err)
		}
	})
	for _, step := range [][2]string{{former, next}, {next, former}} {
		e.upgrade(backend, step[0], step[1])
		for _, pod := range writers {
			e.writesOn(pod, "from version "+step[0]+" to "+step[1])
		}
		fresh := "fresh-" + strings.ReplaceAll(step[1], "/", "-")
		e.create(newPod(fresh, "data", on(nodes[1])))
		e.ready(fresh)
		e.do("delete", "pod", fresh, "--timeout=600s")
	}
	for _, pod := range writers {
		e.allWritten(pod)
	}
	e.do("delete", "pod", "writer", "second", "third", "--timeout=600s")
	e.do("delete", "pvc", "data", "more", "--timeout=600s")
}

// loadVersion builds the product under another version and brings its images to the nodes.
func (e *env) loadVersion(version string) {
	e.t.Helper()
	if os.Getenv("E2E_CLUSTER_TOOL") == "" {
		e.t.Skip("E2E_CLUSTER_TOOL does not name a cluster of test/cluster: images have to be brought to its nodes")
	}
	build := exec.CommandContext(e.t.Context(), repository+"/hack/images/build")
	build.Env = append(os.Environ(), "VERSION="+version)
	if out, err := build.CombinedOutput(); err != nil {
		e.t.Fatalf("hack/images/build: %v\n%s", err, out)
	}
	for _, image := range []string{"nfs-operator", "nfs-server"} {
		if out, err := clusterTool(e.t, "load-image", "ghcr.io/nfs-operator/"+image+":"+version); err != nil {
			e.t.Fatalf("load-image: %v\n%s", err, out)
		}
	}
}

// upgrade applies the manifests with the images of a version, and watches until all follows.
func (e *env) upgrade(backend, from, to string) {
	e.t.Helper()
	manifests := e.do("kustomize", repository+"/config/default")
	for _, image := range []string{"nfs-operator", "nfs-server"} {
		image = "ghcr.io/nfs-operator/" + image + ":"
		manifests = strings.ReplaceAll(manifests, image+"dev\n", image+to+"\n")
	}
	if !strings.Contains(manifests, "nfs-server:"+to+"\n") {
		e.t.Fatal("the manifests name no image with the tag dev")
	}
	if _, err := e.RunInput(e.t.Context(), manifests, "-n", systemNamespace, "apply", "--server-side", "-f", "-"); err != nil {
		e.t.Fatal(err)
	}
	said := map[string]bool{}
	var order []string // in which servers were seen to have the new version
	deadline := time.Now().Add(20 * time.Minute)
	for done := false; !done; {
		if time.Now().After(deadline) {
			e.t.Fatalf("the upgrade from %s to %s does not end", from, to)
		}
		driver := e.get("nfsdriver/default", `{.status.version}|{.status.conditions[?(@.type=="Ready")].status}|{.status.conditions[?(@.type=="Ready")].message}`)
		said[driver] = true
		status := e.do("get", "nfsbackend", backend, story.Backend, "-o",
			`jsonpath={range .items[*]}{.metadata.name}|{.status.conditions[?(@.type=="Ready")].status}|{.status.conditions[?(@.type=="Ready")].message}|{range .status.shards[*]}{.shard}={.version} {end}{"\n"}{end}`)
		done = strings.HasPrefix(driver, to+"|True|")
		for line := range strings.Lines(status) {
			f := strings.Split(strings.TrimSpace(line), "|")
			said[f[1]+"|"+f[2]] = true
			done = done && f[1] == "True"
			for shard := range strings.FieldsSeq(f[3]) {
				number, version, _ := strings.Cut(shard, "=")
				server := f[0] + "/" + number
				if version != to {
					done = false
					continue
				}
				if !slices.Contains(order, server) {
					order = append(order, server)
					if !strings.HasPrefix(driver, to+"|") {
						e.t.Errorf("server %s has version %s before the CSI driver: %s", server, to, driver)
					}
				}
			}
		}
		// The pods, and not the status, for it also says that a server is away when its agent is slow to answer.
		pods := e.do("-n", systemNamespace, "get", "pods", "-l", names.LabelComponent+"="+names.ComponentServer, "-o",
			`jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}={.status.conditions[?(@.type=="Ready")].status}{"\n"}{end}`)
		if strings.Count(pods, " =True") < 2 { // of three
			e.t.Errorf("more than one server is away:\n%s", pods)
		}
	}
	e.t.Logf("from %s to %s: servers in the order %v", from, to, order)
	words := fmt.Sprint(said)
	for _, want := range []string{"upgrading from version " + from + " to " + to, "from version " + from + " to " + to} {
		found := false
		for s := range said {
			found = found || strings.Contains(s, want) && strings.HasPrefix(want, "upgrading") == strings.Contains(s, "upgrading")
		}
		if !found {
			e.t.Errorf("no status said %q: %s", want, words)
		}
	}
	for _, workload := range []string{"deployment/csi-controller", "daemonset/csi-node"} {
		if got := e.do("-n", systemNamespace, "get", workload, "-o", "jsonpath={.spec.template.spec.containers[*].image}"); !strings.Contains(got, "nfs-operator:"+to) {
			e.t.Errorf("%s runs %s", workload, got)
		}
	}
}
