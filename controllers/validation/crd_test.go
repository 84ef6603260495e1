//go:build envtest

package validation

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// object is one of our kinds, as a person would write it.
func object(t *testing.T, kind, name, spec string) *unstructured.Unstructured {
	t.Helper()
	text := fmt.Sprintf("apiVersion: storage.nfs-operator.io/v1alpha1\nkind: %s\nmetadata:\n  name: %s\nspec: %s\n", kind, name, spec)
	obj := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &obj.Object); err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return obj
}

// expect checks the answer against a part of the message; empty means that there must be no error.
func expect(t *testing.T, err error, want string) {
	t.Helper()
	switch {
	case want == "" && err != nil:
		t.Errorf("refused: %v", err)
	case want != "" && err == nil:
		t.Errorf("accepted, should be refused with %q", want)
	case want != "" && !strings.Contains(err.Error(), want):
		t.Errorf("refused with %v, should be with %q", err, want)
	}
}

// TestCreate: what the schema accepts and refuses by itself; the rules are in rules_test.go.
func TestCreate(t *testing.T) {
	c := testenv.Client(t)
	nasWith := func(fields string) string { return external("path: /export, " + fields) }
	for i, test := range []struct{ kind, name, spec, want string }{
		{"NFSBackend", "a-1", server(""), ""},
		{"NFSBackend", "exports", server(", exports: [{name: a, size: 1Gi}, {name: b, path: x/Y_1.d, size: 1Gi, clients: [{cidr: 10.0.0.0/8}, {cidr: 'fd00::/48', access: ReadOnly}], squash: All}], access: {mode: CIDRs, cidrs: [10.0.0.0/8]}"), ""},
		{"NFSBackend", "beside", server(", exports: [{name: a, size: 1Gi}, {name: ab, size: 1Gi}]"), ""},
		{"NFSBackend", "up", server(", exports: [{name: a, path: a/../b, size: 1Gi}]"), "path"},
		{"NFSBackend", "absolute", server(", exports: [{name: a, path: /etc, size: 1Gi}]"), "path"},
		{"NFSBackend", "newline", server(", exports: [{name: a, path: \"a\\nb\", size: 1Gi}]"), "path"},
		{"NFSBackend", "quote", server(", exports: [{name: 'a\"', size: 1Gi}]"), "name"},
		{"NFSBackend", "no-size", server(", exports: [{name: a}]"), "size"},
		{"NFSBackend", "a-2", "{external: " + nas + "}", ""},
		{"NFSBackend", strings.Repeat("a", 40), server(""), ""},
		{"NFSBackend", "size-least", diskOf("size: 1Gi"), ""},
		{"NFSBackend", "size-word", diskOf("size: big"), "size"},
		{"NFSBackend", "mode-filesystem", diskOf("size: 1Gi, volumeMode: Filesystem"), ""},
		{"NFSBackend", "mode-other", diskOf("size: 1Gi, volumeMode: Directory"), "volumeMode"},
		{"NFSBackend", "shards-0", server(", shards: 0"), "shards"},
		{"NFSBackend", "shards-64", server(", shards: 64"), ""},
		{"NFSBackend", "shards-65", server(", shards: 65"), "shards"},
		{"NFSBackend", "spread", server(", spread: Required"), ""},
		{"NFSBackend", "spread-bad", server(", spread: Never"), "spread"},
		{"NFSBackend", "update-ondelete", server(", updateStrategy: {type: OnDelete}"), ""},
		{"NFSBackend", "update-bad", server(", updateStrategy: {type: Recreate}"), "type"},
		{"NFSBackend", "window", server(", updateStrategy: {maintenanceWindow: {days: [Saturday, Sunday], start: '22:30', durationMinutes: 240}}"), ""},
		{"NFSBackend", "window-day", server(", updateStrategy: {maintenanceWindow: {days: [Sun], start: '22:30', durationMinutes: 240}}"), "days"},
		{"NFSBackend", "window-hour", server(", updateStrategy: {maintenanceWindow: {start: '24:00', durationMinutes: 240}}"), "start"},
		{"NFSBackend", "window-short", server(", updateStrategy: {maintenanceWindow: {start: '23:00', durationMinutes: 9}}"), "durationMinutes"},
		{"NFSBackend", "window-long", server(", updateStrategy: {maintenanceWindow: {start: '23:00', durationMinutes: 1441}}"), "durationMinutes"},
		{"NFSBackend", "window-empty", server(", updateStrategy: {maintenanceWindow: {start: '23:00'}}"), "durationMinutes"},
		{"NFSBackend", "hosts", hosts(2, "{shard: 1, node: b, device: /dev/sdb}", "{shard: 0, node: a, device: '/dev/disk/by-id/nvme-eui.0025'}"), ""},
		{"NFSBackend", "hosts-twice", hosts(2, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 0, node: b, device: /dev/sdc}"), "Duplicate value"},
		{"NFSBackend", "hosts-directory", hosts(1, "{shard: 0, node: a, device: /srv/nfs}"), "device"},
		{"NFSBackend", "hosts-space", hosts(1, "{shard: 0, node: a, device: '/dev/sd b'}"), "device"},
		{"NFSBackend", "lease-9", server(", leaseSeconds: 9"), "leaseSeconds"},
		{"NFSBackend", "lease-61", server(", leaseSeconds: 61, graceSeconds: 70"), "leaseSeconds"},
		{"NFSBackend", "grace-91", server(", graceSeconds: 91"), "graceSeconds"},
		{"NFSBackend", "overcommit", server(", overcommitPercent: 99"), "overcommitPercent"},
		{"NFSBackend", "policy", "{server: {storage: " + disk + "}, deletionPolicy: Recycle}", "deletionPolicy"},
		{"NFSBackend", "path", "{external: {server: nas, path: export}}", "path"},
		{"NFSBackend", "path-none", "{external: {server: nas}}", "path"},
		{"NFSBackend", "path-root", "{external: {server: nas, path: /}}", ""},
		{"NFSBackend", "path-empty", "{external: {server: nas, path: /export//a}}", "path"},
		{"NFSBackend", "path-slash", "{external: {server: nas, path: /export/}}", "path"},
		{"NFSBackend", "path-space", "{external: {server: nas, path: '/export a'}}", "path"},
		{"NFSBackend", "path-comma", "{external: {server: nas, path: '/export,ro'}}", "path"},
		{"NFSBackend", "path-newline", `{external: {server: nas, path: "/export\n"}}`, "path"},
		{"NFSBackend", "nas-ip", nasWith("server: 192.0.2.7"), ""},
		{"NFSBackend", "nas-ip6", nasWith("server: 'fd00::7'"), ""},
		{"NFSBackend", "nas-none", "{external: {path: /export}}", "server"},
		{"NFSBackend", "nas-options", nasWith("server: nas, mountOptions: [vers=4.1, nconnect=4, port=20049, noresvport, hard, rsize=65536]"), ""},
		{"NFSBackend", "nas-pod", nasWith("server: nas, resources: {requests: {cpu: 50m}}, nodeSelector: {a: b}, tolerations: [{operator: Exists}], priorityClassName: high"), ""},
		{"NFSBackend", "nas-full", nasWith("server: nas.example.org."), ""},
		{"NFSBackend", "nas-name", nasWith("server: nas, mountOptions: [" + strings.Repeat("x", 33) + "]"), "mountOptions"},
		{"NFSBackend", "nas-o5", nasWith("server: nas, mountOptions: ['hard,addr=10.0.0.1']"), "mountOptions"},
		{"NFSBackend", "nas-o12", nasWith(`server: nas, mountOptions: ["hard\nsoft"]`), "mountOptions"},
		{"NFSBackend", "nas-dot", nasWith("server: nas.example.org."), ""},
		{"NFSBackend", "nas-o15", nasWith("server: nas, mountOptions: [" + strings.Repeat("a", 32) + "=1]"), ""},
		{"NFSBackend", "nas-o16", nasWith("server: nas, mountOptions: [" + strings.Repeat("a", 33) + "]"), "mountOptions"},

		{"StorageProfile", "p-1", profile(""), ""},
		{"StorageProfile", "no-backend", "{}", "backendRef"},
		{"StorageProfile", "p-sizes", profile(", minVolumeSize: 1Gi, maxVolumeSize: 1Gi"), ""},
		{"StorageProfile", "p-reclaim", profile(", reclaimPolicy: Recycle"), "reclaimPolicy"},
		{"StorageProfile", "p-binding", profile(", volumeBindingMode: Later"), "volumeBindingMode"},
		{"StorageProfile", "p-mode", profile(", directory: {mode: '0888'}"), "mode"},
		{"StorageProfile", "p-squash", profile(", squash: {mode: Some}"), "mode"},
		{"StorageProfile", "p-delete", profile(", onDelete: Shred"), "onDelete"},
		{"StorageProfile", "o-1", option("hard"), ""},
		{"StorageProfile", "o-2", option("nconnect=8"), ""},
		{"StorageProfile", "o-13", option("rsize=65536"), ""},
		{"StorageProfile", "o-14", option("a,b"), "mountOptions"},
		{"StorageProfile", "o-15", option("version=1"), ""},
		{"StorageProfile", "o-20", option(strings.Repeat("a", 33)), "mountOptions"},

		{"NFSDriver", "default", "{controller: {replicas: 6}}", "replicas"},
		{"NFSDriver", "default", "{kubeletDirectory: relative}", "kubeletDirectory"},
		{"NFSDriver", "default", "{}", ""},
	} {
		t.Run(fmt.Sprintf("%02d %s %s", i, test.kind, test.name), func(t *testing.T) {
			expect(t, c.Create(t.Context(), object(t, test.kind, test.name, test.spec)), test.want)
		})
	}
}
