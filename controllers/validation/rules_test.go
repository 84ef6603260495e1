//go:build envtest

package validation

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

// definedRule is a rule in CEL as the API server has it.
type definedRule struct{ kind, path, message, expression string }

// definedRules are all rules of our CRDs.
func definedRules(t *testing.T) []definedRule {
	t.Helper()
	files, err := filepath.Glob(testenv.Path("config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) != 3 {
		t.Fatalf("the CRDs are not where they should be: %v, %v", files, err)
	}
	var rules []definedRule
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		crd := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &crd.Object); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		kind, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "kind")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, version := range versions {
			schema, _, _ := unstructured.NestedMap(version.(map[string]any), "schema", "openAPIV3Schema")
			rules = append(rules, rulesBelow(schema, kind, "")...)
		}
	}
	return rules
}

// rulesBelow reads a part of a schema, whose place is written as the API server names it in an error, without indices.
func rulesBelow(schema map[string]any, kind, path string) (rules []definedRule) {
	defined, _, _ := unstructured.NestedSlice(schema, "x-kubernetes-validations")
	for _, one := range defined {
		rule := one.(map[string]any)
		message, _ := rule["message"].(string)
		rules = append(rules, definedRule{kind, path, message, rule["rule"].(string)})
	}
	properties, _ := schema["properties"].(map[string]any)
	for name, below := range properties {
		rules = append(rules, rulesBelow(below.(map[string]any), kind, strings.TrimPrefix(path+"."+name, "."))...)
	}
	for _, each := range []string{"items", "additionalProperties"} {
		if below, ok := schema[each].(map[string]any); ok {
			rules = append(rules, rulesBelow(below, kind, path+"[]")...)
		}
	}
	return rules
}

// try is an object that a person makes, or changes from what it was before.
type try struct{ name, before, after string }

func made(specs ...string) (tries []try) {
	for _, spec := range specs {
		tries = append(tries, try{after: spec})
	}
	return tries
}

func named(name, spec string) try { return try{name: name, after: spec} }

func changed(before, after string) try { return try{before: before, after: after} }

// rule is what is tried of a rule: objects that it accepts, and others that are refused for nothing else.
type rule struct {
	kind, path, message string // a part of the message that tells it from the others of the path
	accepts, refuses    []try
}

const (
	disk    = `{volumeClaimTemplate: {storageClassName: local-block, size: 10Gi}}`
	noClass = `{volumeClaimTemplate: {size: 10Gi}}`
	nas     = `{server: nas.example.org, path: /export}`
)

// server is the spec of a managed backend with further fields.
func server(fields string) string { return "{server: {storage: " + disk + fields + "}}" }

// on is the spec of a managed backend on other disks.
func on(storage string) string { return "{server: {storage: " + storage + "}}" }

func diskOf(fields string) string { return on("{volumeClaimTemplate: {" + fields + "}}") }

// hosts is the spec of a managed backend on devices of nodes.
func hosts(shards int, entries ...string) string {
	return fmt.Sprintf("{server: {shards: %d, storage: {hosts: [%s]}}}", shards, strings.Join(entries, ", "))
}

func device(path string) string { return hosts(1, "{shard: 0, node: a, device: '"+path+"'}") }

func exports(list string) string { return server(", exports: [" + list + "]") }

func external(fields string) string { return "{external: {" + fields + "}}" }

func nasOption(option string) string {
	return external("server: nas, path: /export, mountOptions: ['" + option + "']")
}

func profile(fields string) string { return "{backendRef: {name: shared}" + fields + "}" }

func option(option string) string { return profile(", mountOptions: ['" + option + "']") }

// shareOptions are those that nobody may give for a share; profileOptions are more, for a profile has no port or version.
var (
	shareOptions = strings.Fields("nfsvers minorversion v2 v3 v4 proto tcp tcp6 udp udp6 rdma rdma6 addr clientaddr mountaddr mounthost mountport " +
		"mountproto mountvers sec fsc bg retry remount bind ro rw")
	profileOptions = append(slices.Clone(shareOptions), "vers", "port", "resvport", "noresvport")
)

// each is a spec for each option, with a value and without.
func each(options []string, spec func(string) string) (tries []try) {
	for _, name := range options {
		tries = append(tries, try{after: spec(name)}, try{after: spec(name + "=1")})
	}
	return tries
}

// likeness are options that merely begin or end as forbidden ones do.
var likeness = []string{"version", "v5", "protocol", "tcpx", "address", "roam", "rwsize", "hard", "rsize", "xsec", "background"}

var rules = slices.Concat(backendRules, storageRules, exportRules, externalRules, profileRules)

var backendRules = []rule{
	{
		"NFSBackend", "", "a DNS label that starts with a letter",
		[]try{named("b-1", server("")), named(strings.Repeat("b", 40), server(""))},
		[]try{named("1st", server("")), named("with.dot", server("")), named(strings.Repeat("b", 41), server(""))},
	},
	{
		"NFSBackend", "spec", "exactly one of server", made(server(""), "{external: "+nas+"}"),
		made("{}", "{server: {storage: "+disk+"}, external: "+nas+"}"),
	},
	{
		"NFSBackend", "spec", "cannot change between server and external",
		[]try{changed(server(""), server(", leaseSeconds: 20"))},
		[]try{changed(server(""), "{external: "+nas+"}"), changed("{external: "+nas+"}", server(""))},
	},
	{
		"NFSBackend", "spec", "nobody would wipe the devices",
		made("{deletionPolicy: Delete, server: {storage: "+disk+"}}", "{deletionPolicy: Retain, server: {storage: {hosts: [{shard: 0, node: a, device: /dev/sdb}]}}}"),
		append(made("{deletionPolicy: Delete, server: {storage: {hosts: [{shard: 0, node: a, device: /dev/sdb}]}}}"),
			changed(device("/dev/sdb"), "{deletionPolicy: Delete, server: {storage: {hosts: [{shard: 0, node: a, device: /dev/sdb}]}}}")),
	},
	{
		"NFSBackend", "spec", "not the operator's to delete", made("{deletionPolicy: Retain, external: " + nas + "}"),
		made("{deletionPolicy: Delete, external: " + nas + "}"),
	},
	{
		"NFSBackend", "spec.server", "graceSeconds must be at least leaseSeconds", made(server(", leaseSeconds: 40, graceSeconds: 40")),
		made(server(", leaseSeconds: 40, graceSeconds: 39"), server(", leaseSeconds: 31")),
	},
	{
		"NFSBackend", "spec.server.shards", "shards may only grow",
		[]try{changed(server(", shards: 2"), server(", shards: 3"))},
		[]try{changed(server(", shards: 2"), server(", shards: 1")), changed(server(", shards: 2"), server(""))},
	},
	{
		"NFSBackend", "spec.server.updateStrategy", "needs the type RollingUpdate",
		made(server(", updateStrategy: {type: OnDelete}"), server(", updateStrategy: {maintenanceWindow: {start: '23:00', durationMinutes: 60}}"),
			server(", updateStrategy: {type: RollingUpdate, maintenanceWindow: {start: '23:00', durationMinutes: 60}}")),
		made(server(", updateStrategy: {type: OnDelete, maintenanceWindow: {start: '23:00', durationMinutes: 60}}")),
	},
	{
		"NFSBackend", "spec.server.access", "needs a list of cidrs", made(server(", access: {mode: CIDRs, cidrs: [10.0.0.0/8]}"), server(", access: {mode: Staged}"), server(", access: {}")),
		made(server(", access: {mode: CIDRs}"), server(", access: {cidrs: [10.0.0.0/8]}"), server(", access: {mode: Staged, cidrs: [10.0.0.0/8]}")),
	},
	{
		"NFSBackend", "spec.server.access.cidrs[]", "must be a network", made(server(", access: {mode: CIDRs, cidrs: [10.0.0.0/8, 'fd00::/48', 192.0.2.7/32]}")),
		made(server(", access: {mode: CIDRs, cidrs: ['*']}"), server(", access: {mode: CIDRs, cidrs: [192.0.2.7]}"), server(", access: {mode: CIDRs, cidrs: ['fd00::/129']}")),
	},
}

var storageRules = []rule{
	{
		"NFSBackend", "spec.server.storage", "exactly one of volumeClaimTemplate", made(on(disk), device("/dev/sdb")),
		made(on("{}"), on("{hosts: [{shard: 0, node: a, device: /dev/sdb}], volumeClaimTemplate: {size: 10Gi}}")),
	},
	{
		"NFSBackend", "spec.server.storage", "storage cannot change",
		[]try{changed(on(disk), diskOf("storageClassName: local-block, size: 20Gi"))},
		[]try{changed(on(disk), device("/dev/sdb")), changed(device("/dev/sdb"), on(disk))},
	},
	{
		"NFSBackend", "spec.server", "exactly one entry for each shard",
		[]try{
			{after: hosts(2, "{shard: 1, node: b, device: /dev/sdb}", "{shard: 0, node: a, device: /dev/sdb}")},
			changed(device("/dev/sdb"), hosts(2, "{shard: 1, node: b, device: /dev/sdb}", "{shard: 0, node: a, device: /dev/sdb}")),
		},
		[]try{
			{after: hosts(2, "{shard: 0, node: a, device: /dev/sdb}")},
			{after: hosts(1, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 1, node: a, device: /dev/sdc}")},
			{after: hosts(2, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 2, node: a, device: /dev/sdc}")},
			changed(hosts(2, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 1, node: a, device: /dev/sdc}"), hosts(2, "{shard: 0, node: a, device: /dev/sdb}")),
		},
	},
	{
		"NFSBackend", "spec.server.storage.hosts[].device", "must not contain . or ..", made(device("/dev/disk/by-id/nvme-eui.0025"), device("/dev/a..b")),
		made(device("/dev/../srv/nfs"), device("/dev/./sdb")),
	},
	{
		"NFSBackend", "spec.server.storage.hosts[].device", "device is immutable",
		[]try{changed(device("/dev/sdb"), device("/dev/sdb"))},
		[]try{changed(device("/dev/sdb"), device("/dev/sdc"))},
	},
	{
		"NFSBackend", "spec.server.storage.hosts[].node", "node is immutable",
		[]try{changed(hosts(2, "{shard: 0, node: a, device: /dev/sdb}", "{shard: 1, node: b, device: /dev/sdb}"), hosts(2, "{shard: 1, node: b, device: /dev/sdb}", "{shard: 0, node: a, device: /dev/sdb}"))},
		[]try{changed(device("/dev/sdb"), hosts(1, "{shard: 0, node: b, device: /dev/sdb}"))},
	},
	{
		"NFSBackend", "spec.server.storage.volumeClaimTemplate", "storageClassName is immutable",
		[]try{changed(on(noClass), diskOf("size: 11Gi"))},
		[]try{changed(on(disk), on(noClass)), changed(on(noClass), on(disk))},
	},
	{
		"NFSBackend", "spec.server.storage.volumeClaimTemplate.storageClassName", "storageClassName is immutable",
		[]try{changed(on(disk), diskOf("storageClassName: local-block, size: 11Gi"))},
		[]try{changed(on(disk), diskOf("storageClassName: other, size: 10Gi"))},
	},
	{
		"NFSBackend", "spec.server.storage.volumeClaimTemplate.volumeMode", "volumeMode is immutable",
		[]try{
			changed(diskOf("size: 1Gi"), diskOf("size: 1Gi, volumeMode: Block")),
			changed(diskOf("size: 1Gi, volumeMode: Filesystem"), diskOf("size: 2Gi, volumeMode: Filesystem")),
		},
		[]try{
			changed(diskOf("size: 1Gi"), diskOf("size: 1Gi, volumeMode: Filesystem")),
			changed(diskOf("size: 1Gi, volumeMode: Filesystem"), diskOf("size: 1Gi")),
		},
	},
	{
		"NFSBackend", "spec.server.storage.volumeClaimTemplate.size", "at least 1Gi", made(diskOf("size: 1Gi"), diskOf("size: 1073741824")),
		made(diskOf("size: 0"), diskOf("size: '0'"), diskOf("size: 1023Mi"), diskOf("size: -5Gi")),
	},
	{
		"NFSBackend", "spec.server.storage.volumeClaimTemplate.size", "size may only grow",
		[]try{changed(on(disk), diskOf("storageClassName: local-block, size: 20Gi")), changed(on(disk), diskOf("storageClassName: local-block, size: 10240Mi"))},
		[]try{changed(on(disk), diskOf("storageClassName: local-block, size: 9Gi")), changed(on(disk), diskOf("storageClassName: local-block, size: 10G"))},
	},
}

var exportRules = []rule{
	{
		"NFSBackend", "spec.server", "a shard that does not exist", made(server(", shards: 2, exports: [{name: a, size: 1Gi, shard: 1}]")),
		made(exports("{name: a, size: 1Gi, shard: 1}"), server(", shards: 2, exports: [{name: a, size: 1Gi, shard: 2}]")),
	},
	{
		"NFSBackend", "spec.server.exports", "may be or lie within",
		made(exports("{name: a, size: 1Gi}, {name: ab, size: 1Gi}"), exports("{name: a, path: b, size: 1Gi}, {name: b, path: a, size: 1Gi}")),
		made(exports("{name: a, size: 1Gi}, {name: b, path: a/b, size: 1Gi}"), exports("{name: a, size: 1Gi}, {name: b, path: a, size: 1Gi}")),
	},
	{
		"NFSBackend", "spec.server.exports[]", "shard is immutable",
		[]try{
			changed(server(", shards: 2, exports: [{name: a, size: 2Gi, shard: 1}]"), server(", shards: 2, exports: [{name: b, size: 1Gi}, {name: a, size: 1Gi, shard: 1, squash: All}]")),
			changed(server(", shards: 2, exports: [{name: a, size: 2Gi, shard: 1}]"), server(", shards: 2")),
			changed(server(", shards: 2"), server(", shards: 2, exports: [{name: a, size: 2Gi}]")),
		},
		[]try{
			changed(server(", shards: 2, exports: [{name: a, size: 1Gi}]"), server(", shards: 2, exports: [{name: a, size: 1Gi, shard: 1}]")),
			changed(server(", shards: 2, exports: [{name: a, size: 1Gi, shard: 1}]"), server(", shards: 2, exports: [{name: a, size: 1Gi}]")),
		},
	},
	{
		"NFSBackend", "spec.server.exports[]", "path is immutable",
		[]try{
			changed(exports("{name: a, size: 1Gi}"), exports("{name: a, path: a, size: 1Gi}")), // its default
			changed(exports("{name: a, path: a, size: 1Gi}"), exports("{name: a, size: 1Gi}")),
		},
		[]try{
			changed(exports("{name: a, size: 1Gi}"), exports("{name: a, path: b, size: 1Gi}")),
			changed(exports("{name: a, path: b, size: 1Gi}"), exports("{name: a, size: 1Gi}")),
			changed(exports("{name: a, path: b/c, size: 1Gi}"), exports("{name: a, path: b/d, size: 1Gi}")),
		},
	},
	{
		"NFSBackend", "spec.server.exports[].clients[].cidr", "must be a network", made(exports("{name: a, size: 1Gi, clients: [{cidr: 10.0.0.0/8}, {cidr: 'fd00::/48', access: ReadOnly}]}")),
		made(exports("{name: a, size: 1Gi, clients: [{cidr: '*'}]}"), exports("{name: a, size: 1Gi, clients: [{cidr: nas.example.org}]}")),
	},
}

var externalRules = []rule{
	{
		"NFSBackend", "spec.external.server", "must be an IP address or a DNS name",
		made(external("server: 192.0.2.7, path: /"), external("server: 'fd00::7', path: /"), external("server: nas.example.org., path: /"), external("server: "+strings.Repeat("a", 63)+", path: /")),
		made(external("server: '[fd00::7]', path: /"), external("server: 'nas:2049', path: /"), external("server: 'nas:/export', path: /"),
			external("server: 'nas,addr=10.0.0.1', path: /"), external("server: 'nas a', path: /"), external(`server: "nas\n", path: /`),
			external("server: '-nas', path: /"), external("server: "+strings.Repeat("a", 64)+", path: /"), external("server: nas.example.org.., path: /"), external("server: NAS, path: /")),
	},
	{
		"NFSBackend", "spec.external.path", "must not contain . or ..", made(external("server: nas, path: /"), external("server: nas, path: /a..b/.c")),
		made(external("server: nas, path: /export/../etc"), external("server: nas, path: /export/./a")),
	},
	{
		"NFSBackend", "spec.external.mountOptions", "the driver chooses transport", append(each(likeness, nasOption), made(nasOption("noresvport"))...),
		each(shareOptions, nasOption),
	},
	{
		"NFSBackend", "spec.external.mountOptions", "vers must be 4.1 or 4.2", made(nasOption("vers=4.1"), nasOption("vers=4.2")),
		made(nasOption("vers=3"), nasOption("vers=4"), nasOption("vers=4.0"), nasOption("vers"), nasOption("vers=4.11")),
	},
	{
		"NFSBackend", "spec.external.mountOptions", "port must be 1 to 65535", made(nasOption("port=1"), nasOption("port=20049"), nasOption("port=65535")),
		made(nasOption("port=0"), nasOption("port=65536"), nasOption("port=100000"), nasOption("port"), nasOption("port=a"), nasOption("port=01")),
	},
	{
		"NFSBackend", "spec.external.mountOptions", "nconnect must be 1 to 8", made(nasOption("nconnect=1"), nasOption("nconnect=8")),
		made(nasOption("nconnect=0"), nasOption("nconnect=9"), nasOption("nconnect=16"), nasOption("nconnect")),
	},
}

var profileRules = slices.Concat([]rule{
	{
		"StorageProfile", "", "at most 63 characters",
		[]try{named(strings.Repeat("p", 63), profile(""))},
		[]try{named(strings.Repeat("p", 64), profile(""))},
	},
	{
		"StorageProfile", "spec", "exactly one of backendRef and backendSelector", made(profile(""), "{backendSelector: {matchLabels: {a: b}}}"),
		made("{}", "{backendRef: {name: shared}, backendSelector: {matchLabels: {a: b}}}"),
	},
	{
		"StorageProfile", "spec", "must not exceed maxVolumeSize", made(profile(", minVolumeSize: 1Gi, maxVolumeSize: 1Gi"), profile(", minVolumeSize: 1G, maxVolumeSize: 1Gi"), profile(", minVolumeSize: 2Gi")),
		made(profile(", minVolumeSize: 2Gi, maxVolumeSize: 1Gi"), profile(", minVolumeSize: 2, maxVolumeSize: 1")),
	},
	{
		"StorageProfile", "spec.mountOptions", "the driver chooses version", each(likeness, option), each(profileOptions, option),
	},
	{
		"StorageProfile", "spec.mountOptions", "nconnect must be 1 to 8", made(option("nconnect=1"), option("nconnect=8")),
		made(option("nconnect=0"), option("nconnect=9"), option("nconnect=16"), option("nconnect")),
	},
	{
		"StorageProfile", "spec.allowedNamespaces", "needs names or a selector",
		made(profile(", allowedNamespaces: {names: [shop]}"), profile(", allowedNamespaces: {selector: {matchLabels: {a: b}}}"), profile(", allowedNamespaces: {names: [shop], selector: {matchLabels: {a: b}}}")),
		made(profile(", allowedNamespaces: {}")),
	},
	{"NFSDriver", "", "its name is default", []try{named("default", "{}")}, []try{named("other", "{}")}},
}, selectorRules("spec.backendSelector", func(selector string) string { return "{backendSelector: " + selector + "}" }),
	selectorRules("spec.allowedNamespaces.selector", func(selector string) string { return profile(", allowedNamespaces: {selector: " + selector + "}") }))

func selectorRules(path string, spec func(string) string) []rule {
	expression := func(text string) string { return spec("{matchExpressions: [{key: a, " + text + "}]}") }
	return []rule{
		{"StorageProfile", path, "an empty selector would match everything", made(spec("{matchLabels: {tier: gold}}"), expression("operator: Exists")), made(spec("{}"))},
		{
			"StorageProfile", path + ".matchLabels", "is no label key", made(spec("{matchLabels: {'example.org/a.b-c_d': gold}}")),
			made(spec("{matchLabels: {'a b': gold}}"), spec("{matchLabels: {'a/b/c': gold}}"), spec("{matchLabels: {'-a': gold}}")),
		},
		{
			"StorageProfile", path + ".matchExpressions[]", "In and NotIn need values",
			made(expression("operator: In, values: [b]"), expression("operator: NotIn, values: [b, c]"), expression("operator: Exists"), expression("operator: DoesNotExist")),
			made(expression("operator: In"), expression("operator: NotIn, values: []"), expression("operator: Exists, values: [b]"), expression("operator: DoesNotExist, values: [b]")),
		},
	}
}

// TestEveryRule: each rule accepts some and refuses others, for its own reason alone.
func TestEveryRule(t *testing.T) {
	c := testenv.Client(t)
	for i, rule := range rules {
		t.Run(strings.Join([]string{rule.kind, rule.path, rule.message}, " "), func(t *testing.T) {
			if len(rule.accepts) == 0 || len(rule.refuses) == 0 {
				t.Fatal("there must be something that it accepts, and something that it refuses")
			}
			for j, try := range rule.accepts {
				if err := attempt(t, c, rule.kind, fmt.Sprintf("accepted-%d-%d", i, j), try); err != nil {
					t.Errorf("refuses %s: %v", try.after, err)
				}
			}
			for j, try := range rule.refuses {
				err := attempt(t, c, rule.kind, fmt.Sprintf("refused-%d-%d", i, j), try)
				if why := causes(err); len(why) != 1 || !strings.HasPrefix(why[0], rule.path+": ") || !strings.Contains(why[0], rule.message) {
					t.Errorf("%s is refused for %q, should be for this rule only", try.after, why)
				}
			}
		})
	}
}

// TestEveryRuleIsTried: a rule that is added to the types must be added to the table, and so must an option.
func TestEveryRuleIsTried(t *testing.T) {
	tried := map[string]int{}
	for _, defined := range definedRules(t) {
		matches := slices.DeleteFunc(slices.Clone(rules), func(r rule) bool {
			return r.kind != defined.kind || r.path != defined.path || !strings.Contains(defined.message, r.message)
		})
		if len(matches) != 1 {
			t.Errorf("%s %s: rule %q has %d rows in the table", defined.kind, defined.path, defined.message, len(matches))
			continue
		}
		tried[matches[0].path+matches[0].message+matches[0].kind]++
		for _, name := range forbiddenOptions(defined.expression) {
			if known := map[string][]string{"NFSBackend": shareOptions, "StorageProfile": profileOptions}[defined.kind]; !slices.Contains(known, name) {
				t.Errorf("%s %s: mount option %s is forbidden, and is not tried", defined.kind, defined.path, name)
			}
		}
	}
	if len(tried) != len(rules) {
		t.Errorf("%d rows of the table are about %d rules", len(rules), len(tried))
	}
}

// forbiddenOptions are those that a rule names in a list.
func forbiddenOptions(expression string) (names []string) {
	list := regexp.MustCompile(`'\^\((.*)\)\(=\|\$\)'`).FindStringSubmatch(expression)
	if list == nil {
		return nil
	}
	for name := range strings.SplitSeq(list[1], "|") {
		if name == "v[234]" {
			names = append(names, "v2", "v3", "v4")
			continue
		}
		names = append(names, name)
	}
	return names
}

// attempt makes an object, or changes one, and leaves none.
func attempt(t *testing.T, c client.Client, kind, name string, try try) error {
	t.Helper()
	if try.name != "" {
		name = try.name
	}
	after := object(t, kind, name, try.after)
	if try.before == "" {
		return c.Create(t.Context(), after, client.DryRunAll)
	}
	before := object(t, kind, name, try.before)
	if err := c.Create(t.Context(), before); err != nil {
		t.Fatalf("%s: %v", try.before, err)
	}
	defer func() {
		if err := c.Delete(t.Context(), before); err != nil {
			t.Error(err)
		}
	}()
	after.SetResourceVersion(before.GetResourceVersion())
	return c.Update(t.Context(), after, client.DryRunAll)
}

var index = regexp.MustCompile(`\[[^]]*\]`)

// causes are the fields that the API server finds at fault, without indices, and why.
func causes(err error) (all []string) {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return nil
	}
	for _, cause := range status.Status().Details.Causes {
		field := index.ReplaceAllString(cause.Field, "[]")
		if field == "<nil>" {
			field = "" // the object as a whole
		}
		all = append(all, field+": "+cause.Message)
	}
	return all
}
