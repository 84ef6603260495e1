package validation

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// kustomization is what our kustomizations may hold. With none of these does kustomize add an object that is in no file.
type kustomization struct {
	Namespace string   `json:"namespace"`
	Labels    []any    `json:"labels"`
	Patches   []any    `json:"patches"`
	Resources []string `json:"resources"`
}

// objects are those of a kustomization's files.
func objects(t *testing.T, dir string) []map[string]any {
	t.Helper()
	var k kustomization
	if err := yaml.UnmarshalStrict([]byte(text(t, dir, "kustomization.yaml")), &k); err != nil {
		t.Fatalf("%s: %v", dir, err)
	}
	var all []map[string]any
	for _, resource := range k.Resources {
		if filepath.Ext(resource) == "" {
			all = append(all, objects(t, filepath.Join(dir, resource))...)
			continue
		}
		for document := range strings.SplitSeq(text(t, dir, resource), "\n---\n") {
			var object map[string]any
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatalf("%s/%s: %v", dir, resource, err)
			}
			all = append(all, object)
		}
	}
	return all
}

func text(t *testing.T, elements ...string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// values are all strings that an object has in fields of a name, wherever they are.
func values(object any, field string) (found []string) {
	switch object := object.(type) {
	case map[string]any:
		for name, value := range object {
			if word, ok := value.(string); ok && name == field {
				found = append(found, word)
			}
			found = append(found, values(value, field)...)
		}
	case []any:
		for _, value := range object {
			found = append(found, values(value, field)...)
		}
	}
	return found
}

// TestOnlyOurDefinitionsAreInstalled: those of volume snapshots belong to the cluster, and a second set would fight with the one that is
// there.
func TestOnlyOurDefinitionsAreInstalled(t *testing.T) {
	count := 0
	for _, object := range objects(t, "../../config/default") {
		if object["kind"] != "CustomResourceDefinition" {
			continue
		}
		count++
		if groups := values(object["spec"], "group"); !slices.Equal(groups, []string{"storage.nfs-operator.io"}) {
			t.Errorf("%v is of %v", object["metadata"], groups)
		}
	}
	if count != 3 {
		t.Errorf("%d definitions are installed, not those of our three kinds", count)
	}
}

// TestQuotaNamesThePriorityClassesOfOurPods: a cluster that wants such a quota refuses pods whose class it does not name.
func TestQuotaNamesThePriorityClassesOfOurPods(t *testing.T) {
	var quota struct {
		Spec struct {
			ScopeSelector struct {
				MatchExpressions []struct{ Values []string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(text(t, "../../config/manager/priority_quota.yaml")), &quota); err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, expression := range quota.Spec.ScopeSelector.MatchExpressions {
		named = append(named, expression.Values...)
	}
	files, err := filepath.Glob("../internal/desired/*/testdata/*.golden.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var used []string
	for _, file := range append(files, "../../config/manager/manager.yaml") {
		if strings.HasSuffix(file, "-all-fields.golden.yaml") {
			continue // a person has chosen the class
		}
		for document := range strings.SplitSeq(text(t, file), "\n---\n") {
			var object any
			if err := yaml.Unmarshal([]byte(document), &object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			used = append(used, values(object, "priorityClassName")...)
		}
	}
	slices.Sort(named)
	slices.Sort(used)
	if used = slices.Compact(used); !slices.Equal(named, used) {
		t.Errorf("the quota is for %v, and our pods have %v", named, used)
	}
}
