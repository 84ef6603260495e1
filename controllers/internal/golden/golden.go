// Package golden compares what builders build with files that people have read: go test ./... -update writes them anew.
package golden

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Equal compares the YAML text of an object with testdata/<name>.golden.yaml.
func Equal(t *testing.T, name string, object any) {
	t.Helper()
	got, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join("testdata", name+".golden.yaml")
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		line, was, is := firstDifference(string(want), string(got))
		t.Errorf("%s differs from line %d on (-update writes it anew, git diff shows the rest)\nwant: %s\n got: %s", file, line, was, is)
	}
}

func firstDifference(want, got string) (line int, was, is string) {
	wanted, have := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range min(len(wanted), len(have)) {
		if wanted[i] != have[i] {
			return i + 1, wanted[i], have[i]
		}
	}
	return min(len(wanted), len(have)), "", "" // one is the beginning of the other
}

// AllSet checks that value, the input of a builder, has every field set that its own package declares, so that a field that the builder
// forgets is missing in what it builds. What other packages declare is not looked into.
func AllSet(t *testing.T, value any) {
	t.Helper()
	v := reflect.ValueOf(value)
	allSet(t, v, v.Type().Name(), v.Type().PkgPath())
}

func allSet(t *testing.T, v reflect.Value, path, pkg string) {
	t.Helper()
	if v.IsZero() {
		t.Errorf("%s is not set: a builder that forgets it would not be found out", path)
		return
	}
	if v.Kind() == reflect.Pointer {
		v = v.Elem()
	}
	if v.Kind() != reflect.Struct || v.Type().PkgPath() != pkg {
		return
	}
	for field, of := range v.Fields() {
		allSet(t, of, path+"."+field.Name, pkg)
	}
}
