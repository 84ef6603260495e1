package story

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Kubectl runs kubectl against one cluster.
type Kubectl struct {
	// Program is kubectl's path.
	Program string
	// Kubeconfig is the file that names the cluster.
	Kubeconfig string
	// Namespace is where the story's own pods and claims live.
	Namespace string
}

// Run runs kubectl and returns what it printed. The error holds the command and what it said on standard error.
func (k Kubectl) Run(ctx context.Context, args ...string) (string, error) {
	return k.RunInput(ctx, "", args...)
}

// RunInput is Run with a standard input.
func (k Kubectl) RunInput(ctx context.Context, input string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, k.Program, append([]string{"--namespace", k.Namespace}, args...)...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+k.Kubeconfig)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.String(), fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()+stdout.String()))
	}
	return strings.TrimSpace(stdout.String()), nil
}

// Shell runs a shell script in a pod.
func (k Kubectl) Shell(ctx context.Context, pod, script string) (string, error) {
	return k.Run(ctx, "exec", pod, "--", "sh", "-c", script)
}

// Until repeats a question until its answer is accepted; what is the wish, for the error.
func (k Kubectl) Until(ctx context.Context, timeout time.Duration, what string, accept func(string) bool, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	var answer string
	var err error
	for {
		if got, runErr := k.Run(ctx, args...); ctx.Err() == nil {
			answer, err = got, runErr
			if err == nil && accept(answer) {
				return answer, nil
			}
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return "", fmt.Errorf("%s: not within %s: %w", what, timeout, err)
			}
			return "", fmt.Errorf("%s: not within %s; last answer of kubectl %s: %q", what, timeout, strings.Join(args, " "), answer)
		case <-tick.C:
		}
	}
}
