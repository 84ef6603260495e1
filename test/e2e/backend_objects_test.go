//go:build e2e && long

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// backend makes an NFSBackend of the test's own, and lets go of it at the end, with its disks. It returns its name.
func (e *env) backend(spec v1alpha1.NFSBackendSpec) string {
	e.t.Helper()
	return e.backendNamed("", spec)
}

// backendNamed is backend, for a test that has several.
func (e *env) backendNamed(suffix string, spec v1alpha1.NFSBackendSpec) string {
	e.t.Helper()
	name := "b" + e.Namespace[strings.LastIndex(e.Namespace, "-")+1:] + suffix
	e.createBackend(name, spec)
	e.t.Cleanup(func() { e.dropBackend(name) })
	return name
}

func (e *env) createBackend(name string, spec v1alpha1.NFSBackendSpec) {
	e.t.Helper()
	e.create(&v1alpha1.NFSBackend{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NFSBackend"},
		ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: spec,
	})
}

// dropBackend deletes a backend that holds nothing any more, and lets the next test have its disks.
func (e *env) dropBackend(name string) {
	ctx, cancel := cleanUpContext()
	defer cancel()
	for _, args := range [][]string{
		{"annotate", "nfsbackend", name, names.AnnotationAllowDeletion + "=" + name, "--overwrite"},
		{"delete", "nfsbackend", name, "--ignore-not-found", "--timeout=300s"},
		{"-n", systemNamespace, "delete", "pvc", "-l", names.LabelBackend + "=" + name, "--timeout=120s"},
		{"delete", "pv", names.Shard(name, 0), "--ignore-not-found", "--wait=false"}, // of a device of storage.hosts
		{"label", "pv", "-l", names.LabelBackend + "=" + name, names.LabelBackend + "-"},
	} {
		if _, err := e.Run(ctx, args...); err != nil && !strings.Contains(err.Error(), "not found") {
			e.t.Errorf("clean up: %v", err)
		}
	}
	e.releaseDisks(name)
}

func (e *env) backendReady(name string) {
	e.t.Helper()
	e.do("wait", "--for=condition=Ready", "--timeout=420s", "nfsbackend/"+name)
}

func onDisks(shards int32, size string) v1alpha1.NFSBackendSpec {
	class := "local-block"
	return v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Shards: shards, Storage: v1alpha1.ServerStorage{
		VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{StorageClassName: &class, Size: quantity(size)},
	}}}
}

// writer appends the time to a file in the volume and syncs it, some times a second, and notes the first error.
const writer = `cd /data && (n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); echo $n >> log && sync log || { echo "write $n failed" >> /tmp/errors; break; }; echo $n > /tmp/written; sleep 0.2; done) > /tmp/writer.log 2>&1 &`

// written is how many writes were acknowledged.
func (e *env) written(pod string) int {
	e.t.Helper()
	n, err := strconv.Atoi(e.shell(pod, "cat /tmp/written"))
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

// writesOn waits until the writer has gone on, and fails if it met an error.
func (e *env) writesOn(pod, after string) {
	e.t.Helper()
	before := e.written(pod)
	if _, err := e.Until(e.t.Context(), 4*time.Minute, "the writer goes on after "+after, func(got string) bool {
		n, err := strconv.Atoi(strings.TrimSpace(got))
		return err == nil && n > before+3
	}, "exec", pod, "--", "cat", "/tmp/written"); err != nil {
		e.t.Fatal(err)
	}
	if got := e.shell(pod, "cat /tmp/errors 2>/dev/null; cat /tmp/writer.log"); got != "" {
		e.t.Fatalf("after %s: %s", after, got)
	}
	e.t.Logf("the write went on after %s", after)
}

// allWritten checks that every acknowledged write is in the file, in order.
func (e *env) allWritten(pod string) {
	e.t.Helper()
	e.shell(pod, "touch /tmp/stop; sleep 1")
	last := e.written(pod)
	lines := strings.Fields(e.shell(pod, "cat /data/log"))
	if len(lines) < last {
		e.t.Fatalf("%d writes were acknowledged, %d are there", last, len(lines))
	}
	for i := range last {
		if lines[i] != fmt.Sprint(i+1) {
			e.t.Fatalf("line %d says %s", i+1, lines[i])
		}
	}
}
