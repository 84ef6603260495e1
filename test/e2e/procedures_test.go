//go:build e2e && long

package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
	"github.com/nfs-operator/nfs-operator/test/story"
)

// What docs/backends.md tells people to do by hand.

// TestHostDeviceIsNamedOtherwise gives a device of a node, which was named by its number, a name that stays: by the commands of docs/backends.md.
func TestHostDeviceIsNamedOtherwise(t *testing.T) {
	e := newEnv(t)
	node := e.nodes()[1]
	device, _ := e.loopDevice(node, "1200M")
	onHost := func(device string) v1alpha1.NFSBackendSpec {
		return v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			Hosts: []v1alpha1.HostDevice{{Node: node, Device: device}},
		}}}
	}
	backend := e.backend(onHost(device))
	e.backendReady(backend)
	class := e.profile("host", onBackend(backend))
	e.create(newClaim("data", ofClass(class)), newPod("before", "data"))
	e.ready("before")
	e.shell("before", "echo kept > /data/file && sync /data/file")
	e.do("delete", "pod", "before", "--timeout=300s")

	link := "/dev/disk/by-id/" + e.name("disk")
	if out, err := onNode(t, node, "sh", "-c", "mkdir -p /dev/disk/by-id && ln -s "+device+" "+link); err != nil {
		t.Fatalf("%s: %v", out, err)
	}
	commands := e.commandsBelow("docs/backends.md", "### Moving a device of `hosts`")
	commands = strings.ReplaceAll(strings.ReplaceAll(commands, "shared.yaml", t.TempDir()+"/backend.yaml"), "shared", backend)
	commands, applyAnew, found := strings.Cut(commands, "kubectl apply -f")
	if !found || strings.Contains(strings.TrimSpace(applyAnew), "\n") {
		t.Fatalf("the commands do not end with an apply:\n%s", commands)
	}
	if out, err := e.script(t.Context(), "set -euxo pipefail", commands); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	e.createBackend(backend, onHost(link))
	e.backendReady(backend)
	if got := e.get("pv/"+names.Shard(backend, 0), "{.spec.local.path}"); got != link {
		t.Errorf("the disk's PersistentVolume names %q, want %q", got, link)
	}
	e.create(newPod("after", "data"))
	e.ready("after")
	if got := strings.TrimSpace(e.shell("after", "cat /data/file && echo more >> /data/file")); got != "kept" {
		t.Errorf("the file holds %q", got)
	}
	e.do("delete", "pod", "after", "--timeout=300s")
	e.do("delete", "pvc", "data", "--timeout=300s")
}

// TestAddressThatIsLostForGood: somebody else's Service has the address of a server, and keeps it.
func TestAddressThatIsLostForGood(t *testing.T) {
	e := newEnv(t)
	backend := e.backend(onDisks(1, "2Gi"))
	e.backendReady(backend)
	class := e.profile("lost", onBackend(backend))
	e.create(newClaim("data", ofClass(class)), newPod("before", "data"))
	e.ready("before")
	e.shell("before", "echo kept > /data/file && sync /data/file")
	address := e.get("nfsbackend/"+backend, "{.status.shards[0].address}")

	service := names.Shard(backend, 0)
	e.do("annotate", "nfsbackend", backend, "storage.nfs-operator.io/paused=true")
	e.await("the backend is paused", is("True"), "get", "nfsbackend", backend, "-o", `jsonpath={.status.conditions[?(@.type=="Paused")].status}`)
	e.do("-n", systemNamespace, "annotate", "service", service, names.AnnotationAllowDeletion+"="+service)
	e.do("-n", systemNamespace, "delete", "service", service)
	e.create(&corev1.Service{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Service"}, ObjectMeta: metav1.ObjectMeta{Name: "thief"},
		Spec: corev1.ServiceSpec{ClusterIP: address, Ports: []corev1.ServicePort{{Port: 2049}}},
	})
	e.do("annotate", "nfsbackend", backend, "storage.nfs-operator.io/paused-")
	e.await("the backend says that the address is lost", is("AddressLost"), "get", "nfsbackend", backend, "-o", `jsonpath={.status.conditions[?(@.type=="Stalled")].reason}`)

	// "delete the pods that have volumes of this server mounted, take the address out of the status, and start the pods again"
	e.do("delete", "pod", "before", "--timeout=600s")
	e.do("patch", "nfsbackend", backend, "--subresource=status", "--type=json", "-p", `[{"op":"remove","path":"/status/shards/0/address"}]`)
	now := e.await("the server has another address", func(got string) bool { return got != "" && got != address },
		"get", "nfsbackend", backend, "-o", "jsonpath={.status.shards[0].address}")
	e.backendReady(backend)
	e.create(newPod("after", "data"))
	e.ready("after")
	if got := strings.TrimSpace(e.shell("after", "cat /data/file && echo more >> /data/file && grep ' /data ' /proc/mounts")); !strings.HasPrefix(got, "kept\n") || !strings.Contains(got, now+":") {
		t.Errorf("with the address %s the pod sees\n%s", now, got)
	}
	e.do("delete", "pod", "after", "--timeout=300s")
	e.do("delete", "pvc", "data", "--timeout=300s")
}

// commandsBelow is the first block of commands below a line of a document.
func (e *env) commandsBelow(document, line string) string {
	e.t.Helper()
	text, err := os.ReadFile(repository + "/" + document)
	if err != nil {
		e.t.Fatal(err)
	}
	_, below, found := strings.Cut(string(text), line)
	blocks := parsePage(below)
	if !found || len(blocks) == 0 {
		e.t.Fatalf("%s has no commands below %q", document, line)
	}
	return blocks[0].commands
}

// TestAuthorityIsReplaced asks for another certificate authority under a pod that writes. The hour for which it is trusted before it signs is made minutes.
func TestAuthorityIsReplaced(t *testing.T) {
	e := newEnv(t)
	nodes := e.nodes()
	e.create(newClaim("data"), newPod("writer", "data", on(nodes[0])))
	e.ready("writer")
	e.shell("writer", writer)
	e.writesOn("writer", "the start")
	pods := e.peers()

	authority := func(key string) []string {
		return []string{"-n", systemNamespace, "get", "secret", names.SecretCA, "-o", `go-template={{with index .data "` + key + `"}}{{base64decode .}}{{end}}`}
	}
	e.do("-n", systemNamespace, "annotate", "secret", names.SecretCA, "storage.nfs-operator.io/rotate=now")
	e.await("the next authority is made", func(got string) bool { return got != "" }, authority("next.crt")...)
	due := time.Now().Add(4 * time.Minute)
	next, err := pki.NewAuthority(due.Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	e.do("-n", systemNamespace, "patch", "secret", names.SecretCA, "--type=merge", "-p",
		fmt.Sprintf(`{"stringData":{"next.crt":%q,"next.key":%q}}`, next.Cert, next.Key))
	cert := strings.TrimSpace(string(next.Cert))
	for pod, trusted := range pods {
		if _, err := e.Until(t.Context(), 4*time.Minute, pod+" has learned of the next authority", func(string) bool {
			bundle, err := trusted()
			return err == nil && strings.Contains(bundle, cert)
		}, "version"); err != nil {
			t.Fatal(err)
		}
	}
	if time.Now().After(due) {
		t.Fatal("the bundle took too long to reach all pods: nothing would be shown")
	}
	e.await("the next authority signs", func(got string) bool {
		if got != cert && time.Now().After(due) { // somebody has to look at it: the manager does every ten minutes
			e.do("-n", systemNamespace, "annotate", "secret", names.SecretCA, "e2e-seen="+strconv.FormatInt(time.Now().Unix(), 10), "--overwrite")
		}
		return got == cert
	}, authority("tls.crt")...)
	parsed, err := pki.ParseCertificate(next.Cert)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{names.Shard(story.Backend, 0), names.SecretController} {
		e.await("the certificate in "+name+" is signed by it", func(got string) bool {
			leaf, err := pki.ParseCertificate([]byte(got))
			return err == nil && leaf.CheckSignatureFrom(parsed) == nil
		}, "-n", systemNamespace, "get", "secret", name, "-o", `go-template={{base64decode (index .data "tls.crt")}}`)
	}

	e.create(newClaim("more"), newPod("reader", "data", on(nodes[1])), newPod("other", "more", on(nodes[1])))
	e.ready("reader", "other")
	e.writesOn("writer", "the replacement of the authority")
	e.allWritten("writer")
	for pod := range e.peers() {
		if pods[pod] == nil {
			t.Errorf("%s is new: no pod was to be restarted", pod)
		}
	}
}

// peers are the pods that meet each other with certificates, each with how to read what it trusts.
func (e *env) peers() map[string]func() (string, error) {
	e.t.Helper()
	all := map[string]func() (string, error){}
	selector := names.LabelComponent + " in (" + strings.Join([]string{names.ComponentServer, names.ComponentController, names.ComponentNode}, ",") + ")"
	for line := range strings.Lines(e.do("-n", systemNamespace, "get", "pods", "-l", selector, "-o",
		`jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.spec.nodeName} {.status.containerStatuses[*].restartCount}{"\n"}{end}`)) {
		f := strings.Fields(line)
		all[strings.Join(append(f[:2:2], f[3:]...), " ")] = func() (string, error) {
			return onNode(e.t, f[2], "sh", "-c", "cat /var/lib/kubelet/pods/"+f[1]+"/volumes/*/*/ca.crt")
		}
	}
	if len(all) < 5 {
		e.t.Fatalf("pods: %v", all)
	}
	return all
}
