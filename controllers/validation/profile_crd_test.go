//go:build envtest

package validation

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

// TestProfilesAndDrivers: what their schemas accept and refuse by themselves; the rules are in rules_test.go.
func TestProfilesAndDrivers(t *testing.T) {
	c := testenv.Client(t)
	ref := func(fields string) string { return "{backendRef: {name: shared}" + fields + "}" }
	selector := func(text string) string { return "{backendSelector: " + text + "}" }
	namespaces := func(text string) string { return ref(", allowedNamespaces: " + text) }
	many := func(n int, text string) string {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(text, i)
		}
		return strings.Join(items, ", ")
	}
	for i, test := range []struct{ kind, spec, want string }{
		{"StorageProfile", "{backendRef: {}}", "name"},
		{"StorageProfile", selector("{matchLabels: {tier: gold}}"), ""},
		{"StorageProfile", selector("{matchLabels: {}}"), "matchLabels"},
		{"StorageProfile", selector("{matchLabels: {'example.org/a.b-c_d': gold}}"), ""},
		{"StorageProfile", selector("{matchLabels: {tier: \"it's\"}}"), "matchLabels"},
		{"StorageProfile", selector("{matchLabels: {tier: ''}}"), ""},
		{"StorageProfile", selector("{matchLabels: {" + many(17, "k%d: v") + "}}"), "at most 16"},
		{"StorageProfile", selector("{matchExpressions: [{key: a, operator: In, values: [b]}]}"), ""},
		{"StorageProfile", selector("{matchExpressions: [{key: a, operator: Exists}]}"), ""},
		{"StorageProfile", selector("{matchExpressions: [{key: a, operator: DoesNotExist}]}"), ""},
		{"StorageProfile", selector("{matchExpressions: [{key: a, operator: Like, values: [b]}]}"), "operator"},
		{"StorageProfile", selector("{matchExpressions: [{key: \"it's\", operator: Exists}]}"), "key"},
		{"StorageProfile", selector("{matchExpressions: [{key: a, operator: In, values: [" + many(33, "v%d") + "]}]}"), "at most 32"},
		{"StorageProfile", namespaces("{names: []}"), "names"},
		{"StorageProfile", namespaces("{names: [shop]}"), ""},
		{"StorageProfile", namespaces("{names: [shop, shop]}"), "Duplicate"},
		{"StorageProfile", namespaces("{names: [Shop]}"), "names"},
		{"StorageProfile", namespaces("{names: ['a\"b']}"), "names"},
		{"StorageProfile", namespaces("{names: [" + many(257, "n%d") + "]}"), "at most 256"},
		{"StorageProfile", namespaces("{selector: {matchLabels: {tier: gold}}}"), ""},
		{"StorageProfile", ref(", accessModes: [ReadWriteMany, ReadWriteOnce]"), ""},
		{"StorageProfile", ref(", accessModes: []"), "accessModes"},
		{"StorageProfile", ref(", accessModes: [ReadWriteTwice]"), "accessModes"},
		{"StorageProfile", ref(", accessModes: [ReadWriteMany, ReadWriteMany]"), "Duplicate"},
		{"StorageProfile", ref(", defaultClass: Default"), ""},
		{"StorageProfile", ref(", defaultClass: yes please"), "defaultClass"},
		{"StorageProfile", ref(", snapshots: {class: None, maxSnapshots: 0}"), ""},
		{"StorageProfile", ref(", snapshots: {class: Some}"), "class"},
		{"StorageProfile", ref(", snapshots: {deletionPolicy: Archive}"), "deletionPolicy"},
		{"StorageProfile", ref(", snapshots: {maxSnapshots: -1}"), "maxSnapshots"},
		{"StorageProfile", ref(", snapshots: {maxSnapshots: 65536}"), "maxSnapshots"},

		{"NFSDriver", "{logLevel: Loud}", "logLevel"},
		{"NFSDriver", "{images: {operator: 'an image'}}", "images.operator"},
		{"NFSDriver", "{images: {snapshotter: -v}}", "images.snapshotter"},
		{"NFSDriver", "{node: {priorityClassName: Very High}}", "priorityClassName"},
		{"NFSDriver", "{controller: {nodeSelector: {a: 'b c'}}}", "nodeSelector"},
		{"NFSDriver", "{node: {resources: {limits: {memory: much}}}}", "memory"},
		{"NFSDriver", "{logLevel: Debug, images: {operator: 'example.org:5000/a/b:v1@sha256:abc'}, node: {priorityClassName: high," +
			" nodeSelector: {a: b}, resources: {requests: {cpu: 10m}, limits: {memory: 100Mi}}}," +
			" controller: {replicas: 1, sidecarResources: {limits: {memory: 1Gi}}}}", ""},
	} {
		t.Run(fmt.Sprintf("%02d %s", i, test.want), func(t *testing.T) {
			name := fmt.Sprintf("rule-%d", i)
			if test.kind == "NFSDriver" {
				name = "default"
			}
			obj := object(t, test.kind, name, test.spec)
			if err := client.IgnoreNotFound(c.Delete(t.Context(), obj)); err != nil {
				t.Fatal(err) // another test's
			}
			err := c.Create(t.Context(), obj)
			expect(t, err, test.want)
			if err == nil {
				if err := c.Delete(t.Context(), obj); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
