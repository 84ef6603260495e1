package validation

import (
	"os"
	"path/filepath"
	"testing"

	"sigs.k8s.io/yaml"
)

// schema is what matters here of an OpenAPI schema.
type schema struct {
	Description string            `json:"description"`
	Properties  map[string]schema `json:"properties"`
	Items       *schema           `json:"items"`
}

// `kubectl explain` is all that many people read: each field of each kind has a text there.
func TestEveryFieldIsDescribed(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("..", "..", "config", "crd", "bases", "*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var crd struct {
			Spec struct {
				Names    struct{ Kind string }
				Versions []struct {
					Schema struct{ OpenAPIV3Schema schema }
				}
			}
		}
		if err := yaml.Unmarshal(text, &crd); err != nil {
			t.Fatal(err)
		}
		if len(crd.Spec.Versions) == 0 {
			t.Fatalf("%s has no version", file)
		}
		for _, version := range crd.Spec.Versions {
			expectDescribed(t, crd.Spec.Names.Kind, version.Schema.OpenAPIV3Schema)
		}
	}
}

func expectDescribed(t *testing.T, path string, s schema) {
	t.Helper()
	for name, property := range s.Properties {
		if name == "metadata" { // the API server describes it
			continue
		}
		if property.Description == "" {
			t.Errorf("%s.%s has no description", path, name)
		}
		expectDescribed(t, path+"."+name, property)
	}
	if s.Items != nil {
		expectDescribed(t, path+"[]", *s.Items)
	}
}
