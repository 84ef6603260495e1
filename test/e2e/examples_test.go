//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestExamples runs the pages of docs/examples as they are: each block of commands in its turn, in one shell, and what it
// prints is compared with the block of text after it. See compare. The last block of a page removes everything; it is
// run first as well, for what an interrupted run may have left.
func TestExamples(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(repository + "/docs/examples/*/README.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("docs/examples: %d pages, %v", len(pages), err)
	}
	for _, page := range pages {
		t.Run(filepath.Base(filepath.Dir(page)), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			blocks := parsePage(string(text))
			if len(blocks) == 0 {
				t.Fatal("the page has no commands")
			}
			e := newEnv(t)
			last := blocks[len(blocks)-1].commands
			e.script(t.Context(), "set +e", last)
			defer func() {
				if t.Failed() {
					ctx, cancel := cleanUpContext()
					defer cancel()
					e.script(ctx, "set +e", last)
				}
			}()
			e.runPage(blocks)
		})
	}
}

// block is commands, and lines that they print.
type block struct{ commands, prints string }

var fences = regexp.MustCompile("(?ms)^```(sh|text)\n(.*?)^```")

func parsePage(page string) []block {
	var blocks []block
	for _, f := range fences.FindAllStringSubmatch(page, -1) {
		if f[1] == "sh" {
			blocks = append(blocks, block{commands: f[2]})
		} else if len(blocks) > 0 {
			blocks[len(blocks)-1].prints += f[2]
		}
	}
	return blocks
}

// The end of a block's output.
const endOfBlock = "== end of block =="

func (e *env) runPage(blocks []block) {
	e.t.Helper()
	var script strings.Builder
	for _, b := range blocks {
		script.WriteString(b.commands + "echo '" + endOfBlock + "'\n")
	}
	out, err := e.script(e.t.Context(), "set -euo pipefail", script.String())
	outputs := strings.Split(out, endOfBlock+"\n")
	for i, b := range blocks {
		if i >= len(outputs)-1 {
			e.t.Fatalf("%v in the commands\n%s\nwhich print\n%s", err, b.commands, outputs[len(outputs)-1])
		}
		if missing := compare(b.prints, outputs[i]); missing != "" {
			e.t.Errorf("the page says that the commands\n%s\nprint the line\n%s\nThey print\n%s", b.commands, missing, outputs[i])
		}
	}
}

// compare returns the first line of a page's text that is not among the lines that were printed, in this order. An ellipsis
// stands for anything, also for nothing; spaces count as one.
func compare(page, printed string) string {
	lines := strings.Split(printed, "\n")
	for want := range strings.Lines(page) {
		words := strings.Fields(strings.ReplaceAll(want, "…", " … "))
		if len(words) == 0 {
			continue
		}
		pattern := regexp.QuoteMeta(strings.Join(words, " "))
		pattern = strings.ReplaceAll(strings.ReplaceAll(strings.ReplaceAll(pattern, " … ", ".*"), "… ", ".*"), " …", ".*")
		wanted := regexp.MustCompile("^" + pattern + "$")
		found := false
		for len(lines) > 0 && !found {
			found = wanted.MatchString(strings.Join(strings.Fields(lines[0]), " "))
			lines = lines[1:]
		}
		if !found {
			return strings.TrimSpace(want)
		}
	}
	return ""
}

func TestCompare(t *testing.T) {
	const printed = "NAME  STATUS   AGE\ndata  Bound    5s\nother Pending  5s\n"
	for page, want := range map[string]string{
		"NAME … AGE\nother … Pending …\n": "",
		"da…  Bound …\n":                  "",
		"data Pending …\n":                "data Pending …",
		"other …\ndata …\n":               "data …", // in this order
	} {
		if got := compare(page, printed); got != want {
			t.Errorf("compare(%q) = %q, want %q", page, got, want)
		}
	}
}

// script runs bash as a reader of the page would: in the root of the checkout, with kubectl in PATH and the test's
// namespace as its own.
func (e *env) script(ctx context.Context, settings, script string) (string, error) {
	e.t.Helper()
	directory := e.t.TempDir()
	kubeconfig := filepath.Join(directory, "kubeconfig")
	text, err := os.ReadFile(e.Kubeconfig)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := os.WriteFile(kubeconfig, text, 0o600); err != nil {
		e.t.Fatal(err)
	}
	program, err := exec.LookPath(e.Program)
	if err != nil {
		e.t.Fatal(err)
	}
	if err := os.Symlink(program, filepath.Join(directory, "kubectl")); err != nil {
		e.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Minute)
	defer cancel()
	start := fmt.Sprintf("exec 2>&1\n%s\nkubectl config set-context --current --namespace=%s >/dev/null\n", settings, e.Namespace)
	cmd := exec.CommandContext(ctx, "bash", "-c", start+script)
	cmd.Dir = repository
	cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig, "PATH="+directory+":"+os.Getenv("PATH"))
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	return string(out), err
}
