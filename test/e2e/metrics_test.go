//go:build e2e && long

package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"
)

// TestMetricsAreForTheirReaders asks each manager for its metrics: without a token, with the token of somebody, and with that of somebody
// who has nfs-operator-metrics-reader.
func TestMetricsAreForTheirReaders(t *testing.T) {
	e := newEnv(t)
	for _, account := range []string{"reader", "somebody"} {
		e.do("create", "serviceaccount", account)
	}
	binding := e.name("metrics")
	e.do("create", "clusterrolebinding", binding, "--clusterrole=nfs-operator-metrics-reader", "--serviceaccount="+e.Namespace+":reader")
	e.atEnd("delete", "clusterrolebinding", binding)
	tokens := map[int]string{
		http.StatusUnauthorized: "",
		http.StatusForbidden:    e.do("create", "token", "somebody"),
		http.StatusOK:           e.do("create", "token", "reader"),
	}
	managers := strings.Fields(e.do("-n", systemNamespace, "get", "pods", "-l", "app.kubernetes.io/component=manager", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(managers) != 2 {
		t.Fatalf("managers: %q", managers)
	}
	for _, pod := range managers {
		address := e.forward(pod, 8443)
		for want, token := range tokens {
			status, body := scrape(t, "https://"+address+"/metrics", token)
			if status != want {
				t.Errorf("%s: status %d, want %d: %.200s", pod, status, want, body)
			}
			if has := strings.Contains(body, "controller_runtime_"); has != (want == http.StatusOK) {
				t.Errorf("%s: status %d with metrics %v: %.200s", pod, status, has, body)
			}
		}
	}
}

var forwarding = regexp.MustCompile(`^Forwarding from (127\.0\.0\.1:\d+) `)

// forward is the local address by which a port of a pod can be reached until the test ends.
func (e *env) forward(pod string, port int) string {
	e.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, e.Program, "-n", systemNamespace, "port-forward", "--address=127.0.0.1", "pod/"+pod, fmt.Sprintf(":%d", port))
	cmd.Env = append(os.Environ(), "KUBECONFIG="+e.Kubeconfig)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		cancel()
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		cancel()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	match := forwarding.FindStringSubmatch(line)
	if match == nil {
		e.t.Fatalf("kubectl port-forward says %q: %v", line, err)
	}
	return match[1]
}

func scrape(t *testing.T, url, token string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	// The certificate is self-signed, as monitoring of controller-runtime's managers expects.
	client := &http.Client{Timeout: time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}
