//go:build envtest

package validation

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
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

const (
	disk     = `{volumeClaimTemplate: {storageClassName: local-block, size: 10Gi}}`
	noClass  = `{volumeClaimTemplate: {size: 10Gi}}`
	external = `{server: nas.example.org, path: /export}`
)

func TestCreate(t *testing.T) {
	c := testenv.Client(t)
	server := func(fields string) string { return "{server: {storage: " + disk + fields + "}}" }
	size := func(size string) string { return "{server: {storage: {volumeClaimTemplate: {size: " + size + "}}}}" }
	profile := func(fields string) string { return "{backendRef: {name: shared}" + fields + "}" }
	options := func(option string) string { return profile(", mountOptions: ['" + option + "']") }
	hosts := func(shards int, entries ...string) string {
		return fmt.Sprintf("{server: {shards: %d, storage: {hosts: [%s]}}}", shards, strings.Join(entries, ", "))
	}
	nas := func(fields string) string { return "{external: {path: /export, " + fields + "}}" }
	const ours = "the driver chooses"
	for i, test := range []struct{ kind, name, spec, want string }{
		{"NFSBackend", "a-1", server(""), ""},
		{"NFSBackend", "exports", server(", exports: [{name: a, size: 1Gi}, {name: b, path: x/Y_1.d, size: 1Gi, clients: [{cidr: 10.0.0.0/8}, {cidr: 'fd00::/48', access: ReadOnly}], squash: All}], access: {mode: CIDRs, cidrs: [10.0.0.0/8]}"), ""},
		{"NFSBackend", "nested", server(", exports: [{name: a, size: 1Gi}, {name: b, path: a/b, size: 1Gi}]"), "may be or lie within"},
		{"NFSBackend", "same", server(", exports: [{name: a, size: 1Gi}, {name: b, path: a, size: 1Gi}]"), "may be or lie within"},
		{"NFSBackend", "beside", server(", exports: [{name: a, size: 1Gi}, {name: ab, size: 1Gi}]"), ""},
		{"NFSBackend", "up", server(", exports: [{name: a, path: a/../b, size: 1Gi}]"), "path"},
		{"NFSBackend", "absolute", server(", exports: [{name: a, path: /etc, size: 1Gi}]"), "path"},
		{"NFSBackend", "newline", server(", exports: [{name: a, path: \"a\\nb\", size: 1Gi}]"), "path"},
		{"NFSBackend", "quote", server(", exports: [{name: 'a\"', size: 1Gi}]"), "name"},
		{"NFSBackend", "no-size", server(", exports: [{name: a}]"), "size"},
		{"NFSBackend", "no-network", server(", exports: [{name: a, size: 1Gi, clients: [{cidr: '*'}]}]"), "must be a network"},
		{"NFSBackend", "no-shard", server(", exports: [{name: a, size: 1Gi, shard: 1}]"), "a shard that does not exist"},
		{"NFSBackend", "no-list", server(", access: {mode: CIDRs}"), "needs a list of cidrs"},
		{"NFSBackend", "a-list", server(", access: {cidrs: [10.0.0.0/8]}"), "needs a list of cidrs"},
		{"NFSBackend", "a-2", "{external: " + external + "}", ""},
		{"NFSBackend", "both", "{server: {storage: " + disk + "}, external: " + external + "}", "exactly one of server"},
		{"NFSBackend", "neither", "{}", "exactly one of server"},
		{"NFSBackend", "1st", server(""), "DNS label that starts with a letter"},
		{"NFSBackend", "with.dot", server(""), "DNS label that starts with a letter"},
		{"NFSBackend", strings.Repeat("a", 41), server(""), "at most 40 characters"},
		{"NFSBackend", strings.Repeat("a", 40), server(""), ""},
		{"NFSBackend", "size-0", size("0"), "at least 1Gi"},
		{"NFSBackend", "size-0-text", size("'0'"), "at least 1Gi"},
		{"NFSBackend", "size-small", size("1023Mi"), "at least 1Gi"},
		{"NFSBackend", "size-negative", size("-5Gi"), "at least 1Gi"},
		{"NFSBackend", "size-least", size("1Gi"), ""},
		{"NFSBackend", "size-word", size("big"), "size"},
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
		{"NFSBackend", "window-ondelete", server(", updateStrategy: {type: OnDelete, maintenanceWindow: {start: '23:00', durationMinutes: 60}}"), "needs the type RollingUpdate"},
		{"NFSBackend", "storage-none", "{server: {storage: {}}}", "exactly one of volumeClaimTemplate"},
		{"NFSBackend", "storage-both", "{server: {storage: {hosts: [{shard: 0, node: a, device: /dev/sdb}], volumeClaimTemplate: {size: 10Gi}}}}", "exactly one of volumeClaimTemplate"},
		{"NFSBackend", "hosts", hosts(2, "{shard: 1, node: b, device: /dev/sdb}", "{shard: 0, node: a, device: '/dev/disk/by-id/nvme-eui.0025'}"), ""},
		{"NFSBackend", "hosts-few", hosts(2, "{shard: 0, node: a, device: /dev/sdb}"), "exactly one entry for each shard"},
		{"NFSBackend", "hosts-gap", hosts(2, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 2, node: a, device: /dev/sdc}"), "exactly one entry for each shard"},
		{"NFSBackend", "hosts-twice", hosts(2, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 0, node: b, device: /dev/sdc}"), "Duplicate value"},
		{"NFSBackend", "hosts-directory", hosts(1, "{shard: 0, node: a, device: /srv/nfs}"), "device"},
		{"NFSBackend", "hosts-dots", hosts(1, "{shard: 0, node: a, device: /dev/../srv/nfs}"), "must not contain . or .."},
		{"NFSBackend", "hosts-space", hosts(1, "{shard: 0, node: a, device: '/dev/sd b'}"), "device"},
		{"NFSBackend", "hosts-delete", "{deletionPolicy: Delete, server: {storage: {hosts: [{shard: 0, node: a, device: /dev/sdb}]}}}", "nobody would wipe the devices"},
		{"NFSBackend", "lease-9", server(", leaseSeconds: 9"), "leaseSeconds"},
		{"NFSBackend", "lease-61", server(", leaseSeconds: 61, graceSeconds: 70"), "leaseSeconds"},
		{"NFSBackend", "grace-short", server(", leaseSeconds: 40, graceSeconds: 30"), "graceSeconds must be at least leaseSeconds"},
		{"NFSBackend", "grace-91", server(", graceSeconds: 91"), "graceSeconds"},
		{"NFSBackend", "overcommit", server(", overcommitPercent: 99"), "overcommitPercent"},
		{"NFSBackend", "policy", "{server: {storage: " + disk + "}, deletionPolicy: Recycle}", "deletionPolicy"},
		{"NFSBackend", "path", "{external: {server: nas, path: export}}", "path"},
		{"NFSBackend", "path-none", "{external: {server: nas}}", "path"},
		{"NFSBackend", "path-root", "{external: {server: nas, path: /}}", ""},
		{"NFSBackend", "path-dots", "{external: {server: nas, path: /export/../etc}}", "must not contain . or .."},
		{"NFSBackend", "path-empty", "{external: {server: nas, path: /export//a}}", "path"},
		{"NFSBackend", "path-slash", "{external: {server: nas, path: /export/}}", "path"},
		{"NFSBackend", "path-space", "{external: {server: nas, path: '/export a'}}", "path"},
		{"NFSBackend", "path-comma", "{external: {server: nas, path: '/export,ro'}}", "path"},
		{"NFSBackend", "path-newline", `{external: {server: nas, path: "/export\n"}}`, "path"},
		{"NFSBackend", "nas-ip", nas("server: 192.0.2.7"), ""},
		{"NFSBackend", "nas-ip6", nas("server: 'fd00::7'"), ""},
		{"NFSBackend", "nas-none", "{external: {path: /export}}", "server"},
		{"NFSBackend", "nas-brackets", nas("server: '[fd00::7]'"), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-port", nas("server: 'nas:2049'"), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-path", nas("server: 'nas:/export'"), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-comma", nas("server: 'nas,addr=10.0.0.1'"), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-space", nas("server: 'nas a'"), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-newline", nas(`server: "nas\n"`), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-dash", nas("server: '-nas'"), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-long", nas("server: " + strings.Repeat("a", 64)), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-options", nas("server: nas, mountOptions: [vers=4.1, nconnect=4, port=20049, noresvport, hard, rsize=65536]"), ""},
		{"NFSBackend", "nas-pod", nas("server: nas, resources: {requests: {cpu: 50m}}, nodeSelector: {a: b}, tolerations: [{operator: Exists}], priorityClassName: high"), ""},
		{"NFSBackend", "nas-delete", "{deletionPolicy: Delete, external: " + external + "}", "not the operator's to delete"},
		{"NFSBackend", "nas-full", nas("server: nas.example.org."), ""},
		{"NFSBackend", "nas-dots", nas("server: nas.example.org.."), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-retry", nas("server: nas, mountOptions: [retry=2]"), ours},
		{"NFSBackend", "nas-name", nas("server: nas, mountOptions: [" + strings.Repeat("x", 33) + "]"), "mountOptions"},
		{"NFSBackend", "nas-o1", nas("server: nas, mountOptions: [vers=3]"), "vers must be 4.1 or 4.2"},
		{"NFSBackend", "nas-o2", nas("server: nas, mountOptions: [vers=4]"), "vers must be 4.1 or 4.2"},
		{"NFSBackend", "nas-o3", nas("server: nas, mountOptions: [nfsvers=4.2]"), ours},
		{"NFSBackend", "nas-o4", nas("server: nas, mountOptions: [v3]"), ours},
		{"NFSBackend", "nas-o5", nas("server: nas, mountOptions: ['hard,addr=10.0.0.1']"), "mountOptions"},
		{"NFSBackend", "nas-o6", nas("server: nas, mountOptions: [addr=10.0.0.1]"), ours},
		{"NFSBackend", "nas-o7", nas("server: nas, mountOptions: [sec=krb5]"), ours},
		{"NFSBackend", "nas-o8", nas("server: nas, mountOptions: [port=0]"), "port must be 1 to 65535"},
		{"NFSBackend", "nas-o9", nas("server: nas, mountOptions: [port=65536]"), "port must be 1 to 65535"},
		{"NFSBackend", "nas-o10", nas("server: nas, mountOptions: [nconnect=9]"), "nconnect must be 1 to 8"},
		{"NFSBackend", "nas-o11", nas("server: nas, mountOptions: [ro]"), ours},
		{"NFSBackend", "nas-o12", nas(`server: nas, mountOptions: ["hard\nsoft"]`), "mountOptions"},
		{"NFSBackend", "nas-dot", nas("server: nas.example.org."), ""},
		{"NFSBackend", "nas-dots", nas("server: nas.example.org.."), "must be an IP address or a DNS name"},
		{"NFSBackend", "nas-o14", nas("server: nas, mountOptions: [retry=2]"), ours},
		{"NFSBackend", "nas-o15", nas("server: nas, mountOptions: [" + strings.Repeat("a", 32) + "=1]"), ""},
		{"NFSBackend", "nas-o16", nas("server: nas, mountOptions: [" + strings.Repeat("a", 33) + "]"), "mountOptions"},
		{"NFSBackend", "nas-o13", nas("server: nas, mountOptions: [proto=udp]"), ours},

		{"StorageProfile", "p-1", profile(""), ""},
		{"StorageProfile", "no-backend", "{}", "backendRef"},
		{"StorageProfile", strings.Repeat("p", 64), profile(""), "at most 63 characters"},
		{"StorageProfile", "p-sizes", profile(", minVolumeSize: 1Gi, maxVolumeSize: 1Gi"), ""},
		{"StorageProfile", "p-sizes-bad", profile(", minVolumeSize: 2Gi, maxVolumeSize: 1Gi"), "must not exceed maxVolumeSize"},
		{"StorageProfile", "p-sizes-int", profile(", minVolumeSize: 2, maxVolumeSize: 1"), "must not exceed maxVolumeSize"},
		{"StorageProfile", "p-reclaim", profile(", reclaimPolicy: Recycle"), "reclaimPolicy"},
		{"StorageProfile", "p-binding", profile(", volumeBindingMode: Later"), "volumeBindingMode"},
		{"StorageProfile", "p-mode", profile(", directory: {mode: '0888'}"), "mode"},
		{"StorageProfile", "p-squash", profile(", squash: {mode: Some}"), "mode"},
		{"StorageProfile", "p-delete", profile(", onDelete: Shred"), "onDelete"},
		{"StorageProfile", "o-1", options("hard"), ""},
		{"StorageProfile", "o-2", options("nconnect=8"), ""},
		{"StorageProfile", "o-3", options("nconnect=9"), "nconnect must be 1 to 8"},
		{"StorageProfile", "o-4", options("nconnect=16"), "nconnect must be 1 to 8"},
		{"StorageProfile", "o-5", options("nconnect"), "nconnect must be 1 to 8"},
		{"StorageProfile", "o-6", options("vers=3"), ours},
		{"StorageProfile", "o-7", options("nfsvers=4.0"), ours},
		{"StorageProfile", "o-8", options("v3"), ours},
		{"StorageProfile", "o-9", options("proto=udp"), ours},
		{"StorageProfile", "o-10", options("addr=10.0.0.1"), ours},
		{"StorageProfile", "o-11", options("port=2050"), ours},
		{"StorageProfile", "o-12", options("ro"), ours},
		{"StorageProfile", "o-13", options("rsize=65536"), ""},
		{"StorageProfile", "o-14", options("a,b"), "mountOptions"},
		{"StorageProfile", "o-15", options("version=1"), ""},
		{"StorageProfile", "o-16", options("resvport"), ours},
		{"StorageProfile", "o-18", options("retry=2"), ours},
		{"StorageProfile", "o-19", options("bind"), ours},
		{"StorageProfile", "o-20", options(strings.Repeat("a", 33)), "mountOptions"},
		{"StorageProfile", "o-17", options("noresvport"), ours},

		{"NFSDriver", "other", "{}", "its name is default"},
		{"NFSDriver", "default", "{controller: {replicas: 6}}", "replicas"},
		{"NFSDriver", "default", "{kubeletDirectory: relative}", "kubeletDirectory"},
		{"NFSDriver", "default", "{}", ""},
	} {
		t.Run(fmt.Sprintf("%02d %s %s", i, test.kind, test.name), func(t *testing.T) {
			expect(t, c.Create(t.Context(), object(t, test.kind, test.name, test.spec)), test.want)
		})
	}
}

func TestUpdate(t *testing.T) {
	c := testenv.Client(t)
	server := func(storage, more string) string { return "{server: {storage: " + storage + more + "}}" }
	size := func(size string) string {
		return "{volumeClaimTemplate: {storageClassName: local-block, size: " + size + "}}"
	}
	for i, test := range []struct{ kind, before, after, want string }{
		{"NFSBackend", server(disk, ""), server(size("20Gi"), ""), ""},
		{"NFSBackend", server(disk, ""), server(size("9Gi"), ""), "size may only grow"},
		{"NFSBackend", server(disk, ""), server(noClass, ""), "storageClassName is immutable"},
		{"NFSBackend", server(noClass, ""), server(disk, ""), "storageClassName is immutable"},
		{"NFSBackend", server(disk, ""), server("{volumeClaimTemplate: {storageClassName: other, size: 10Gi}}", ""), "storageClassName is immutable"},
		{"NFSBackend", server(disk, ""), "{external: " + external + "}", "cannot change between server and external"},
		{"NFSBackend", "{external: " + external + "}", server(disk, ""), "cannot change between server and external"},
		{"NFSBackend", "{external: " + external + "}", "{external: {server: nas-2.example.org, path: /other, mountOptions: [vers=4.1]}}", ""},
		{"NFSBackend", server(disk, ""), server(disk, ", leaseSeconds: 30"), ""},
		{"NFSBackend", server(disk, ", shards: 2"), server(disk, ", shards: 3"), ""},
		{"NFSBackend", server(disk, ", shards: 2"), server(disk, ", shards: 1"), "make another NFSBackend with fewer"},
		{"NFSBackend", server(disk, ", shards: 2"), server(disk, ""), "make another NFSBackend with fewer"},
		{"NFSBackend", server(disk, ""), server("{hosts: [{shard: 0, node: a, device: /dev/sdb}]}", ""), "storage cannot change"},
		{"NFSBackend", server("{hosts: [{shard: 0, node: a, device: /dev/sdb}]}", ""), server(disk, ""), "storage cannot change"},
		{"NFSBackend", server("{hosts: [{shard: 0, node: a, device: /dev/sdb}]}", ""), server("{hosts: [{shard: 0, node: b, device: /dev/sdb}]}", ""), "node is immutable"},
		{"NFSBackend", server("{hosts: [{shard: 0, node: a, device: /dev/sdb}]}", ""), server("{hosts: [{shard: 0, node: a, device: /dev/sdc}]}", ""), "device is immutable"},
		{
			"NFSBackend", server("{hosts: [{shard: 0, node: a, device: /dev/sdb}]}", ""),
			server("{hosts: [{shard: 1, node: b, device: /dev/sdb}, {shard: 0, node: a, device: /dev/sdb}]}", ", shards: 2"), "",
		},
		{"NFSBackend", server(disk, ", updateStrategy: {type: OnDelete}"), server(disk, ""), ""},
		{"StorageProfile", "{backendRef: {name: a}}", "{backendRef: {name: b}, reclaimPolicy: Retain}", ""},
	} {
		t.Run(fmt.Sprintf("%02d %s", i, test.want), func(t *testing.T) {
			name := fmt.Sprintf("u-%d", i)
			obj := object(t, test.kind, name, test.before)
			if err := c.Create(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
			changed := object(t, test.kind, name, test.after)
			changed.SetResourceVersion(obj.GetResourceVersion())
			expect(t, c.Update(t.Context(), changed), test.want)
			if err := c.Delete(t.Context(), obj); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		})
	}
}
