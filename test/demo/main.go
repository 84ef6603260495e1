// Command demo shows the product's main job on a real cluster, step by step, and ends with a picture of what happened.
// It runs the steps of package story, the same that the end-to-end test asserts.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/nfs-operator/nfs-operator/test/story"
)

func main() {
	kubeconfig := flag.String("kubeconfig", "", "the cluster to use")
	kubectl := flag.String("kubectl", "kubectl", "the kubectl to use")
	namespace := flag.String("namespace", "default", "where the demo's own pods and claims go")
	repository := flag.String("repository", ".", "the root of the checkout")
	started := flag.Int64("started", time.Now().Unix(), "when the demo began, in Unix seconds: before the cluster was brought up")
	takeDown := flag.String("take-down", "", "the command that takes the cluster down, to be printed")
	flag.Parse()
	s := &story.Story{
		Kubectl:    story.Kubectl{Program: *kubectl, Kubeconfig: *kubeconfig, Namespace: *namespace},
		Repository: *repository,
	}
	rows, err := tell(s, time.Since(time.Unix(*started, 0)))
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Print(picture(rows, s.Beats))
	path := ""
	if filepath.IsAbs(*kubectl) { // else it is in PATH already
		path = fmt.Sprintf(" PATH=%s:$PATH", filepath.Dir(*kubectl))
	}
	fmt.Printf("\nLook around:   export KUBECONFIG=%s%s\n", *kubeconfig, path)
	fmt.Printf("               kubectl get nfsbackend,storageprofile,nfsdriver,storageclass\n")
	if *takeDown != "" {
		fmt.Printf("Take it down:  %s\n", *takeDown)
	}
	fmt.Printf("\ndemo: all %d steps passed\n", len(rows))
}

// tell runs the steps and says how each went. The error holds what explains it.
func tell(s *story.Story, clusterTook time.Duration) ([]row, error) {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	rows := []row{{name: "cluster ready, images loaded", took: clusterTook}}
	if err := s.CleanUp(ctx); err != nil {
		return nil, failed(ctx, s, "clean up after an earlier demo", err)
	}
	for _, step := range s.Steps() {
		fmt.Printf("  …  %s\n", step.Name)
		begin := time.Now()
		observed, err := step.Run(ctx)
		if err != nil {
			return nil, failed(ctx, s, step.Name, err)
		}
		r := row{name: step.Name, took: time.Since(begin), observed: observed}
		rows = append(rows, r)
		fmt.Printf("  ✓  %-42s %6.1f s  %s\n", r.name, r.took.Seconds(), r.observed)
	}
	return rows, nil
}

func failed(ctx context.Context, s *story.Story, step string, err error) error {
	// Ctrl-C reaches kubectl as well, which may end before this program has heard of it.
	select {
	case <-ctx.Done():
		return errors.New("\ndemo: interrupted; run `make demo` again to start over")
	case <-time.After(time.Second):
	}
	return fmt.Errorf("  ✗  %s\n\n%w\n%s\ndemo: FAILED at step %q", step, err, s.Kubectl.Diagnose(), step)
}

type row struct {
	name     string
	took     time.Duration
	observed string
}

func picture(rows []row, beats []float64) string {
	var b strings.Builder
	b.WriteString(`
        node 1                         node 2
   ┌──────────────┐               ┌──────────────┐
   │ pod demo-a   │               │ pod demo-b   │     one ReadWriteMany volume,
   │   /data      │               │   /data      │     mounted by both kernels
   └──────┬───────┘               └───────┬──────┘
          │        NFS 4.2, TCP 2049      │
          └───────────────┬───────────────┘
              ┌───────────┴────────────┐
              │ nfsd-0-shared          │  Ganesha, one export per volume,
              │ XFS, project quota     │  size enforced by the disk's quota
              └────────────────────────┘

`)
	var total time.Duration
	for _, r := range rows {
		total += r.took
	}
	fmt.Fprintf(&b, "   %-42s %8s  %s\n", "step", "time", "what was seen")
	fmt.Fprintf(&b, "   %s\n", strings.Repeat("─", 100))
	for _, r := range rows {
		fmt.Fprintf(&b, "   %-42s %6.1f s  %s\n", r.name, r.took.Seconds(), r.observed)
	}
	fmt.Fprintf(&b, "   %s\n   %-42s %6.1f s\n", strings.Repeat("─", 100), "together", total.Seconds())
	if line := story.Timeline(beats, 90); line != "" {
		b.WriteString("\n   Writes acknowledged while the server pod was deleted (· = the client waited):\n")
		for l := range strings.Lines(line) {
			b.WriteString("   " + l)
		}
	}
	return b.String()
}
