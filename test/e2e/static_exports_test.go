//go:build e2e && long

package e2e

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// TestStaticExports: directories that an NFSBackend exports to a list of networks, and all volumes of it to the same networks. The list is
// one node's addresses; the other node and all pods are refused, and a node that stages an export as a volume is admitted.
func TestStaticExports(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	nodes := e.nodes()
	listed := e.hostNetworks(nodes[0])
	spec := onDisks(1, "2Gi")
	spec.Server.Access = &v1alpha1.VolumeAccess{Mode: v1alpha1.AccessCIDRs, CIDRs: listed}
	spec.Server.Exports = []v1alpha1.StaticExport{
		exportTo(listed, "open", func(x *v1alpha1.StaticExport) { x.Squash = "None" }),
		exportTo(listed, "guarded", func(x *v1alpha1.StaticExport) { x.AnonymousUID, x.AnonymousGID = 1234, 1235 }),
		exportTo(listed, "everybody", func(x *v1alpha1.StaticExport) { x.Squash, x.AnonymousUID, x.Path = "All", 2345, "deep/er" }),
		exportTo(listed, "readonly", func(x *v1alpha1.StaticExport) {
			x.Clients[0].Access = v1alpha1.ExportReadOnly
			x.Clients[1].Access = v1alpha1.ExportReadOnly
		}),
	}
	backend := e.backend(spec)
	onServer := func(script string) string {
		return e.do("-n", systemNamespace, "exec", names.Shard(backend, 0)+"-0", "--", "sh", "-c", script)
	}
	t.Cleanup(func() { // or the backend is in use
		ctx, cancel := cleanUpContext()
		defer cancel()
		if _, err := e.Run(ctx, "-n", systemNamespace, "exec", names.Shard(backend, 0)+"-0", "--", "sh", "-c", "find /data/exports -type f -delete"); err != nil {
			t.Error(err)
		}
	})
	e.backendReady(backend)
	address := e.do("-n", systemNamespace, "get", "service", names.Shard(backend, 0), "-o", "jsonpath={.spec.clusterIP}")
	e.create(
		newPod("listed", "", on(nodes[0]), privileged(true)), newPod("other", "", on(nodes[1]), privileged(true)),
		newPod("inside", "", on(nodes[0]), privileged(false)))
	e.ready("listed", "other", "inside")

	const write = "echo x > /mnt/$(hostname) && chmod 644 /mnt/$(hostname) && stat -c %u:%g /mnt/$(hostname)"
	for export, want := range map[string]string{"open": "0:0", "guarded": "1234:1235", "everybody": "2345:65534"} {
		if got := e.mountByHand("listed", address, "/e-"+export, "df -k /mnt | tail -n 1 | awk '{print $(NF-4)}'; "+write); got != "65536\n"+want {
			t.Errorf("export %s has the size and a file of the owner %q, want 64 MiB and %s", export, got, want)
		}
	}
	if got := e.mountByHand("listed", address, "/e-readonly", write); !strings.Contains(got, "Read-only file system") {
		t.Errorf("a write to the export for readers: %q", got)
	}
	for _, pod := range []string{"other", "inside"} {
		for _, x := range spec.Server.Exports {
			if got := e.mountByHand(pod, address, "/e-"+x.Name, "find /mnt"); !refusesMount(got) {
				t.Errorf("%s, which is on no list, has /e-%s: %s", pod, x.Name, got)
			}
		}
	}
	if got := onServer("cd /data/exports && find . -type f | sed 's|/[^/]*$||' | sort | uniq | tr '\\n' ' '"); got != "./deep/er ./guarded ./open" {
		t.Errorf("there are files in %q", got)
	}

	e.exportAsVolume(backend, nodes[1])
	e.exportAsPlainNFS(address, nodes)

	class := e.profile("networks", onBackend(backend))
	e.create(newClaim("data", ofClass(class)), newPod("user", "data", on(nodes[0])))
	e.ready("user")
	e.shell("user", "echo secret > /data/file")
	volume := "/" + path.Base(e.get("pv/"+e.bound("data"), "{.spec.csi.volumeHandle}"))
	e.do("delete", "pod", "user", "--timeout=600s")
	if got := e.mountByHand("listed", address, volume, "cat /mnt/file"); got != "secret" {
		t.Errorf("the networks of access reach every volume, and a node of them gets %q", got)
	}
	for _, pod := range []string{"other", "inside"} {
		if got := e.mountByHand(pod, address, volume, "cat /mnt/file"); !refusesMount(got) {
			t.Errorf("%s, which is in no network of access, has the volume: %s", pod, got)
		}
	}
	e.do("delete", "pvc", "data", "--timeout=600s")
}

// hostNetworks are the addresses that a server sees a node under: its own, and the first of its pods' network, when both are on
// one node.
func (e *env) hostNetworks(node string) []v1alpha1.CIDR {
	e.t.Helper()
	f := strings.Fields(e.get("node/"+node, `{.status.addresses[?(@.type=="InternalIP")].address} {.spec.podCIDR}`))
	if len(f) != 2 {
		e.t.Fatalf("addresses of %s: %q", node, f)
	}
	bridge := netip.MustParsePrefix(f[1]).Masked().Addr().Next()
	return []v1alpha1.CIDR{v1alpha1.CIDR(f[0] + "/32"), v1alpha1.CIDR(bridge.String() + "/32")}
}

func exportTo(networks []v1alpha1.CIDR, name string, change func(*v1alpha1.StaticExport)) v1alpha1.StaticExport {
	x := v1alpha1.StaticExport{Name: name, Size: resource.MustParse("64Mi"), Squash: "Root", AnonymousUID: 65534, AnonymousGID: 65534}
	for _, network := range networks {
		x.Clients = append(x.Clients, v1alpha1.ExportClient{CIDR: network, Access: v1alpha1.ExportReadWrite})
	}
	change(&x)
	return x
}

// exportAsVolume: a PersistentVolume with the handle of an export, on a node that is on no list. Its deletion deletes no data, and it
// can be read-only.
func (e *env) exportAsVolume(backend, node string) {
	e.t.Helper()
	for _, c := range []struct {
		name, export, spec, source string
		writable                   bool
	}{
		{"writable", "open", "", "", true},
		// Another export, of which nothing is mounted any more.
		{"reader", "guarded", "mountOptions: [ro]", "", false},
		// Kubernetes hands it to drivers that attach volumes, and to nobody else: docs/static-volumes.md.
		{"csi-reader", "open", "", ", readOnly: true", true},
	} {
		static := e.name(c.name)
		e.staticVolume(static, backend+"/0/e-"+c.export+c.source, "persistentVolumeReclaimPolicy: Retain\n  "+c.spec)
		e.create(newClaim(c.name, volumeNamed(static)), newPod(c.name, c.name, on(node)))
		e.ready(c.name)
		if got := e.shell(c.name, "cat /data/*"); !strings.HasPrefix(got, "x") {
			e.t.Errorf("the export as a volume has the files %q", got)
		}
		said := e.shell(c.name, "touch /data/of-"+c.name+" 2>&1 || true")
		if (said == "") != c.writable || !c.writable && !strings.Contains(said, "Read-only file system") {
			e.t.Errorf("%s: a write says %q", c.name, said)
		}
		e.do("delete", "pod", c.name, "--timeout=600s")
		e.do("delete", "pvc", c.name, "--timeout=600s")
		e.do("delete", "pv", static, "--timeout=600s")
	}

	static := e.name("policy-delete")
	e.staticVolume(static, backend+"/0/e-open", "persistentVolumeReclaimPolicy: Delete")
	e.do("annotate", "pv", static, "pv.kubernetes.io/provisioned-by="+names.Driver)
	e.create(newClaim("policy-delete", volumeNamed(static)))
	e.bound("policy-delete")
	e.do("delete", "pvc", "policy-delete", "--timeout=600s")
	e.await("an event says that an export is not deleted", func(got string) bool { return strings.Contains(got, "to Retain") },
		"get", "events", "-A", "--field-selector", "reason=VolumeFailedDelete,involvedObject.name="+static, "-o", "jsonpath={.items[*].message}")
	e.do("patch", "pv", static, "-p", `{"spec":{"persistentVolumeReclaimPolicy":"Retain"}}`)
	e.do("delete", "pv", static, "--timeout=600s")
	if got := e.do("-n", systemNamespace, "exec", names.Shard(backend, 0)+"-0", "--", "ls", "/data/exports/open"); got == "" {
		e.t.Error("the deletion of a PersistentVolume took the export's data with it")
	}
}

// exportAsPlainNFS: without our driver, by the kubelet alone: a PersistentVolume of type nfs, and an nfs volume of a pod. The
// node that is on no list is refused.
func (e *env) exportAsPlainNFS(address string, nodes []string) {
	e.t.Helper()
	static := e.name("plain")
	e.apply(fmt.Sprintf(`apiVersion: v1
kind: PersistentVolume
metadata: {name: %s}
spec:
  capacity: {storage: 64Mi}
  accessModes: [ReadWriteMany]
  mountOptions: [vers=4.2]
  nfs: {server: %s, path: /e-open}
`, static, address))
	e.atEnd("delete", "persistentvolume", static, "--ignore-not-found", "--wait=false")
	inline := withVolume("/data", corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: address, Path: "/e-open"}})
	e.create(newClaim("plain", volumeNamed(static)), newPod("plain", "plain", on(nodes[0])), newPod("inline", "", on(nodes[0]), inline),
		newPod("unlisted", "", on(nodes[1]), inline))
	e.ready("plain", "inline")
	e.shell("plain", "echo z > /data/plain")
	if got := e.shell("inline", "cat /data/plain; grep ' /data ' /proc/mounts"); !strings.HasPrefix(got, "z\n") || !strings.Contains(got, "vers=4.2") {
		e.t.Errorf("the pod with an nfs volume has %q", got)
	}
	if message := e.event("pod/unlisted", "mount failed"); !refusesMount(message) && !strings.Contains(message, "access denied") {
		e.t.Errorf("the node on no list is refused with %q", message)
	}
	e.do("delete", "pod", "plain", "inline", "unlisted", "--timeout=600s")
	e.do("delete", "pvc", "plain", "--timeout=600s")
}
