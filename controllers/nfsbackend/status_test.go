package nfsbackend

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// Whoever is told of a failure finds in the documents what to do about it.
func TestFailuresAreDocumented(t *testing.T) {
	documents := ""
	for _, name := range []string{"backends.md", "external.md"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		documents += string(text)
	}
	for _, reasons := range []map[string]agentv1.Attention{agentv1.Attentions, attentions} {
		for word, attention := range reasons {
			if attention > agentv1.Passes && !strings.Contains(documents, "`"+word+"`") {
				t.Errorf("the documents do not say what to do about %s", word)
			}
		}
	}
}
