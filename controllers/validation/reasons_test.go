package validation

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// patterns find where a reason of a condition or an event is given its word, with a constant or without.
var patterns = []*regexp.Regexp{
	regexp.MustCompile(`\b(reason[A-Z]\w*)\s*=\s*"([A-Z]\w+)"`),
	regexp.MustCompile(`\breason\{()"([A-Z]\w+)"`),
	regexp.MustCompile(`EventType(?:Normal|Warning), ()"([A-Z]\w+)"`),
}

// TestEveryReasonIsReached: people and alerts go by these words, so each is asserted in a test of its package. The agent's, which
// the reconciler hands on, are in TestAgentsReasons.
func TestEveryReasonIsReached(t *testing.T) {
	count := 0
	for _, dir := range []string{"nfsbackend", "nfsdriver", "storageprofile", "pki"} {
		code, tests := sources(t, filepath.Join("..", dir))
		for _, pattern := range patterns {
			for _, match := range pattern.FindAllStringSubmatch(code, -1) {
				count++
				word := regexp.MustCompile(`"(?:(?:Normal|Warning) )?` + match[2] + `[" ]`) // "Word", or an event's text
				constant := match[1] != "" && regexp.MustCompile(`\b`+match[1]+`\b`).MatchString(tests)
				if !constant && !word.MatchString(tests) {
					t.Errorf("%s: no test asserts the reason %s", dir, match[2])
				}
			}
		}
	}
	if count < 40 {
		t.Errorf("only %d reasons were found", count)
	}
}

// sources are a package's code and its tests.
func sources(t *testing.T, dir string) (code, tests string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			tests += string(text)
		} else {
			code += string(text)
		}
	}
	return code, tests
}
