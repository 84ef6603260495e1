//go:build e2e && long

package e2e

import (
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// TestHostDeviceGrowsWhileInUse: a device of a node by its path, made larger under a mounted volume. The file system and
// the status follow.
func TestHostDeviceGrowsWhileInUse(t *testing.T) {
	e := newEnv(t)
	node := e.nodes()[1]
	device, image := e.loopDevice(node, "1200M")
	backend := e.backend(v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
		Hosts: []v1alpha1.HostDevice{{Node: node, Device: device}},
	}}})
	e.backendReady(backend)
	if got := e.get("nfsbackend/"+backend, "{.status.shards[0].node}"); got != node {
		t.Errorf("the server runs on %s, want %s", got, node)
	}
	before := e.get("nfsbackend/"+backend, "{.status.capacity}")
	class := e.profile("host", func(p *v1alpha1.StorageProfileSpec) { p.BackendRef.Name = backend })
	e.create(newClaim("data", ofClass(class)), newPod("writer", "data"))
	e.ready("writer")
	e.shell("writer", writer)
	if out, err := onNode(t, node, "sh", "-c", "truncate -s 2400M "+image+" && losetup -c "+device); err != nil {
		t.Fatalf("grow the device: %s, %v", out, err)
	}
	e.await("the status tells the new capacity", func(got string) bool {
		now, was := quantity(got), quantity(before)
		return now.Value() > was.Value()*3/2
	}, "get", "nfsbackend", backend, "-o", "jsonpath={.status.capacity}")
	e.writesOn("writer", "growth of the disk")
	e.allWritten("writer")
	e.do("delete", "pod", "writer", "--timeout=300s")
	e.do("delete", "pvc", "data", "--timeout=300s")
}

// loopDevice makes a device of a size on a node, until the test ends, and the file below it.
func (e *env) loopDevice(node, size string) (device, image string) {
	e.t.Helper()
	image = "/var/lib/containerd/" + e.name("disk.img")
	device, err := onNode(e.t, node, "sh", "-c", "truncate -s "+size+" "+image+" && losetup --find --show "+image)
	if err != nil || !strings.HasPrefix(device, "/dev/loop") {
		e.t.Fatalf("make a device: %s, %v", device, err)
	}
	e.t.Cleanup(func() { // after the backend, which is made later
		if out, err := onNode(e.t, node, "sh", "-c", "losetup -d "+device+"; rm -f "+image); err != nil {
			e.t.Errorf("clean up: %s, %v", out, err)
		}
	})
	return device, image
}
