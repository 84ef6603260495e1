package server

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

type identity struct {
	csi.UnimplementedIdentityServer
}

func (identity) Probe(context.Context, *csi.ProbeRequest) (*csi.ProbeResponse, error) {
	return &csi.ProbeResponse{}, nil
}

func (identity) GetPluginInfo(context.Context, *csi.GetPluginInfoRequest) (*csi.GetPluginInfoResponse, error) {
	var m map[string]int
	m["x"] = 1 //nolint:staticcheck // the programming error that is wanted here
	return nil, nil
}

type controller struct {
	csi.UnimplementedControllerServer
}

func (controller) DeleteVolume(context.Context, *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	return nil, status.Error(codes.FailedPrecondition, "in use")
}

func TestServer(t *testing.T) {
	var log strings.Builder
	logger := funcr.New(func(prefix, args string) { log.WriteString(prefix + args + "\n") }, funcr.Options{Verbosity: verbose})
	registry := prometheus.NewRegistry()
	path := filepath.Join(t.TempDir(), "csi.sock")
	listener, err := Listen(t.Context(), "unix://"+path)
	if err != nil {
		t.Fatal(err)
	}
	server := New(logger, NewMetrics(registry))
	csi.RegisterIdentityServer(server, identity{})
	csi.RegisterControllerServer(server, controller{})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- Serve(ctx, server, listener) }()

	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := csi.NewIdentityClient(conn)
	if _, err := client.GetPluginInfo(t.Context(), &csi.GetPluginInfoRequest{}); status.Code(err) != codes.Internal {
		t.Errorf("a panic became %v", err)
	}
	if _, err := client.Probe(t.Context(), &csi.ProbeRequest{}); err != nil {
		t.Errorf("after a panic: %v", err)
	}
	_, err = csi.NewControllerClient(conn).DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{
		VolumeId: "v", Secrets: map[string]string{"password": "hunter2"},
	})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("DeleteVolume: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	text := log.String()
	if strings.Contains(text, "hunter2") || strings.Contains(text, "Probe") || !strings.Contains(text, "in use") {
		t.Errorf("log:\n%s", text)
	}
	if families, err := registry.Gather(); err != nil || len(families) != 1 || len(families[0].GetMetric()) != 3 {
		t.Errorf("metrics: %v, %v", families, err)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the socket was removed: %v", err)
	}
	// The next process takes its place.
	if next, err := Listen(t.Context(), path); err != nil {
		t.Error(err)
	} else {
		_ = next.Close()
	}
}

func TestListenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{file, "csi.sock", "unix://csi.sock", "tcp://127.0.0.1:1", ""} {
		if l, err := Listen(t.Context(), address); err == nil {
			t.Errorf("Listen(%q) = %v", address, l.Addr())
		}
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "precious" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestHealth(t *testing.T) {
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := probe.Addr().String()
	_ = probe.Close()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	h := Health{
		Address: address, Live: func() error { return nil }, Ready: func() error { return errors.New("no kubelet") },
		Registry: prometheus.NewRegistry(),
	}
	go func() { done <- h.Serve(ctx) }()
	for path, want := range map[string]int{"/livez": 200, "/readyz": 503, "/metrics": 200, "/": 404} {
		if code, body := get(t, "http://"+address+path); code != want {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	for range 100 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			<-time.After(10 * time.Millisecond) // not listening yet
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		return resp.StatusCode, string(body)
	}
	t.Fatalf("%s does not answer", url)
	return 0, ""
}
