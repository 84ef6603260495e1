package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
)

// program is a Go module below this directory whose binaries the cluster runs.
type program struct {
	module   string // directory
	packages string // what to build: "." or "tool"
	binary   string // name of the result of "."
	ldflags  string
	names    []string // links to the binary, which acts by the name that it is started under
	cold     string   // how long the first build takes
}

const kubernetesVersion = "v1.36.3"

var (
	kubernetes = program{
		module: "kubernetes", packages: ".", binary: "kubernetes", cold: "5 to 10 minutes",
		ldflags: "-X k8s.io/component-base/version.gitVersion=" + kubernetesVersion +
			" -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36",
		names: []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl"},
	}
	sidecars = program{module: "sidecars", packages: "tool", cold: "2 to 4 minutes"}
	coredns  = program{module: "coredns", packages: ".", binary: "coredns", cold: "1 minute"}
)

// sourceDir finds the directory test/cluster: where we are, above it, or where this program was built.
func sourceDir() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	_, here, _, _ := runtime.Caller(0)
	candidates := []string{os.Getenv("NFS_OPERATOR_CLUSTER_SOURCE"), filepath.Dir(here)}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		candidates = append(candidates, dir, filepath.Join(dir, "test", "cluster"))
	}
	for _, d := range candidates {
		if _, err := os.Stat(filepath.Join(d, "sidecars", "go.mod")); d != "" && err == nil {
			return d, nil
		}
	}
	return "", errors.New("cannot find the sources: run this inside the repository, or set NFS_OPERATOR_CLUSTER_SOURCE to its test/cluster")
}

// hash is over all that the result depends on.
func (b program) hash(source string) (string, error) {
	files, err := filepath.Glob(filepath.Join(source, b.module, "*"))
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, b.packages, b.binary, b.ldflags, b.names)
	slices.Sort(files)
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.Base(f), len(content))
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

// build returns the directory with the binaries, and makes it first if it is not in the cache.
func (b program) build(ctx context.Context, p *progress) (string, error) {
	source, err := sourceDir()
	if err != nil {
		return "", err
	}
	hash, err := b.hash(source)
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cacheDir(), "bin", b.module+"-"+hash)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	unlock, err := lock(filepath.Join(cacheDir(), "bin", "."+b.module+".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(dir); err == nil { // another process built it while we waited
		return dir, nil
	}
	p.note("building %s: the first time takes %s", b.module, b.cold)
	if err := b.compile(ctx, filepath.Join(source, b.module), dir+".tmp"); err != nil {
		return "", err
	}
	return dir, os.Rename(dir+".tmp", dir)
}

func (b program) compile(ctx context.Context, source, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	out := to + "/"
	if b.binary != "" {
		out = filepath.Join(to, b.binary)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", strings.TrimSpace("-s -w "+b.ldflags), "-o", out, b.packages)
	cmd.Dir, cmd.Stderr = source, os.Stderr
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOWORK=off", "GOFLAGS=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the compilers, too, end when we are interrupted
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("build %s: %w", b.module, err)
	}
	for _, n := range b.names {
		if err := os.Symlink(b.binary, filepath.Join(to, n)); err != nil {
			return err
		}
	}
	return nil
}

// envtestCommand prints a directory that fits KUBEBUILDER_ASSETS.
func envtestCommand([]string) error {
	ctx, stop := interruptible()
	defer stop()
	dir, err := kubernetes.build(ctx, newProgress())
	if err != nil {
		return err
	}
	fmt.Println(dir)
	return nil
}

// moduleDir returns the unpacked source of a module that the sidecars are built from.
func moduleDir(ctx context.Context, module string) (string, error) {
	source, err := sourceDir()
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	cmd.Dir = filepath.Join(source, sidecars.module)
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("download %s: %w: %s", module, err, out)
	}
	var answer struct{ Dir string }
	if err := json.Unmarshal(out, &answer); err != nil || answer.Dir == "" {
		return "", fmt.Errorf("download %s: %w: %s", module, err, out)
	}
	return answer.Dir, nil
}

// copyFile copies a file with its mode.
func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	return os.Rename(to+".tmp", to)
}
