package registration

import (
	"context"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	registerapi "k8s.io/kubelet/pkg/apis/pluginregistration/v1"

	"github.com/nfs-operator/nfs-operator/csi/server"
)

func TestRegistration(t *testing.T) {
	path := filepath.Join(t.TempDir(), "reg.sock")
	s := New("csi.example", "/plugins/csi.sock")
	listener, err := server.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	s.Register(g)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	conn, err := grpc.NewClient("unix://"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	kubelet := registerapi.NewRegistrationClient(conn)

	if s.Ready() == nil {
		t.Error("ready before the kubelet has come")
	}
	info, err := kubelet.GetInfo(t.Context(), &registerapi.InfoRequest{})
	if err != nil || info.GetType() != "CSIPlugin" || info.GetName() != "csi.example" || info.GetEndpoint() != "/plugins/csi.sock" {
		t.Errorf("GetInfo = %v, %v", info, err)
	}
	notify := func(ok bool, text string) {
		t.Helper()
		status := &registerapi.RegistrationStatus{PluginRegistered: ok, Error: text}
		if _, err := kubelet.NotifyRegistrationStatus(t.Context(), status); err != nil {
			t.Fatal(err)
		}
	}
	notify(true, "")
	if err := s.Ready(); err != nil {
		t.Error(err)
	}
	notify(false, "no such version")
	if err := s.Refused(t.Context()); err == nil || s.Ready() == nil {
		t.Errorf("after a refusal: %v, %v", err, s.Ready())
	}
}

func TestRefusedEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := New("d", "/e").Refused(ctx); err != nil {
		t.Error(err)
	}
}

func TestLivenessFailsWithoutKubelet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New("d", "/e")
		time.Sleep(patience) //nolint:forbidigo // the bubble's clock
		if err := s.Live(); err != nil {
			t.Error(err)
		}
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		if s.Live() == nil {
			t.Error("alive although the kubelet never came")
		}
		if _, err := s.GetInfo(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.Live(); err != nil {
			t.Error(err)
		}
	})
}
