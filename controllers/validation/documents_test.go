//go:build envtest

package validation

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

var example = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// TestDocumentsAndSamplesAreValid creates every object that the documents and samples show, without a field that the API
// server does not know.
func TestDocumentsAndSamplesAreValid(t *testing.T) {
	c := client.WithFieldValidation(testenv.Client(t), client.FieldValidation(metav1.FieldValidationStrict))
	for _, namespace := range []string{"shop", "argocd"} {
		err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			t.Fatal(err)
		}
	}
	texts := map[string]string{}
	for _, document := range []string{"tenants.md", "profiles.md", "external.md", "gitops.md"} {
		for _, match := range example.FindAllStringSubmatch(read(t, "docs", document), -1) {
			texts[document] += "\n---\n" + match[1]
		}
	}
	samples, err := filepath.Glob(testenv.Path("config", "samples", "storage_*.yaml"))
	if err != nil || len(samples) == 0 {
		t.Fatal("no samples", err)
	}
	for _, sample := range samples {
		texts[filepath.Base(sample)] = read(t, "config", "samples", filepath.Base(sample))
	}
	for source, text := range texts {
		for document := range strings.SplitSeq(text, "\n---\n") {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(document), &obj.Object); err != nil {
				t.Fatalf("%s: %v", source, err)
			}
			if obj.Object == nil {
				continue
			}
			if err := c.Create(t.Context(), obj, client.DryRunAll); err != nil && !apierrors.IsAlreadyExists(err) {
				t.Errorf("%s: %v", source, err)
			}
		}
	}
}

func read(t *testing.T, elements ...string) string {
	t.Helper()
	text, err := os.ReadFile(testenv.Path(elements...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
