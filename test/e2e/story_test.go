//go:build e2e

// Package e2e runs against a real cluster: E2E_KUBECONFIG and E2E_KUBECTL name it. `make test-e2e` brings one up.
package e2e

import (
	"os"
	"testing"

	"github.com/nfs-operator/nfs-operator/test/story"
)

func newStory(t *testing.T) *story.Story {
	t.Helper()
	kubeconfig, kubectl := os.Getenv("E2E_KUBECONFIG"), os.Getenv("E2E_KUBECTL")
	if kubeconfig == "" || kubectl == "" {
		t.Fatal("E2E_KUBECONFIG and E2E_KUBECTL name the cluster: run `make test-e2e`")
	}
	return &story.Story{
		Kubectl:    story.Kubectl{Program: kubectl, Kubeconfig: kubeconfig, Namespace: "default"},
		Repository: "../..",
	}
}

// TestStory asserts every claim that `make demo` shows.
func TestStory(t *testing.T) {
	s := newStory(t)
	if err := s.CleanUp(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, step := range s.Steps() {
		ok := t.Run(step.Name, func(t *testing.T) {
			observed, err := step.Run(t.Context())
			if err != nil {
				t.Fatalf("%v\n%s", err, s.Diagnose())
			}
			t.Log(observed)
		})
		if !ok {
			t.Fatal("the steps after this one need it")
		}
	}
}
