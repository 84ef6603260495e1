//go:build e2e

package e2e

import (
	"testing"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// TestStory asserts every claim that `make demo` shows.
func TestStory(t *testing.T) {
	s := &story.Story{Kubectl: kubectl(t, "default"), Repository: repository}
	if err := s.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range s.Steps() {
		ok := t.Run(step.Name, func(t *testing.T) {
			observed, err := step.Run(t.Context())
			if err != nil {
				t.Fatalf("%v\n%s", err, s.Kubectl.Diagnose())
			}
			t.Log(observed)
		})
		if !ok {
			t.Fatal("the steps after this one need it")
		}
	}
}
