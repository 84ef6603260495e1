package rights

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/story"
)

func TestUnused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "role.yaml")
	if err := os.WriteFile(file, []byte(`kind: ServiceAccount
---
kind: ClusterRole
rules:
- {apiGroups: [""], resources: [pods, nodes], verbs: [get, list, watch]}
- {apiGroups: [""], resources: [namespaces], verbs: [get]}
---
kind: Role
metadata: {namespace: system}
rules:
- {apiGroups: [""], resources: [pods], verbs: [get, delete]}
`), 0o600); err != nil {
		t.Fatal(err)
	}
	g, err := granted(file)
	if err != nil {
		t.Fatal(err)
	}
	idle := unused(g, []story.Request{
		{Verb: "watch", Resource: "nodes"},
		{Verb: "get", Resource: "pods", Namespace: "system"},
		{Verb: "delete", Resource: "pods", Namespace: "system"},
		{Verb: "get", Resource: "namespaces", Namespace: "team"},
	})
	missing := refused(g, []story.Request{
		{Verb: "get", Resource: "nodes", Refused: true}, // before the role was read
		{Verb: "delete", Resource: "nodes", Refused: true},
	})
	if !slices.Equal(missing, []right{{"delete", "", "nodes", ""}}) {
		t.Errorf("refused %v", missing)
	}
	want := []right{{"get", "", "pods", ""}, {"list", "", "pods", ""}, {"watch", "", "pods", ""}}
	if !slices.Equal(idle, want) {
		t.Errorf("unused %v, want %v", idle, want)
	}
}
