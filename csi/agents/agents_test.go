package agents

import (
	"context"
	"errors"
	"net"
	"os"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

var shard = volumeid.Shard{Backend: "main", Number: 0}

type plain struct{}

func (plain) ClientCredentials(string) credentials.TransportCredentials {
	return insecure.NewCredentials()
}

type agent struct {
	agentv1.UnimplementedAgentServer
}

func (agent) GetCapacity(context.Context, *agentv1.GetCapacityRequest) (*agentv1.Capacity, error) {
	return &agentv1.Capacity{TotalBytes: 7}, nil
}

func TestOneConnectionPerShardAndAddress(t *testing.T) {
	listener := bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	agentv1.RegisterAgentServer(server, agent{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)

	var dialled []string
	pool := NewPool(plain{}, func(ctx context.Context, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return listener.DialContext(ctx)
	})
	t.Cleanup(pool.Close)
	for _, address := range []string{"10.0.0.1", "10.0.0.1", "fd00::1"} {
		client, err := pool.Agent(shard, address)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := client.GetCapacity(t.Context(), &agentv1.GetCapacityRequest{}); err != nil || c.GetTotalBytes() != 7 {
			t.Fatalf("GetCapacity: %v, %v", c, err)
		}
	}
	if len(dialled) != 2 || dialled[0] != "10.0.0.1:9060" || dialled[1] != "[fd00::1]:9060" {
		t.Errorf("dialled %v", dialled)
	}
	if _, err := pool.Agent(shard, "nfsd-0-main.evil.example"); err == nil {
		t.Error("a name was taken for an address")
	}
}

func TestUnreachableAgentIsUnavailable(t *testing.T) {
	pool := NewPool(plain{}, func(context.Context, string) (net.Conn, error) { return nil, errors.New("no route") })
	t.Cleanup(pool.Close)
	client, err := pool.Agent(shard, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if _, err := client.GetCapacity(ctx, &agentv1.GetCapacityRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("got %v, want Unavailable", err)
	}
}

func TestDialReserved(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	// Two at once: the second must find another port.
	for range 2 {
		conn, err := DialReserved(t.Context(), listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		if port := conn.LocalAddr().(*net.TCPAddr).Port; os.Geteuid() == 0 && (port < firstReserved || port > lastReserved) {
			t.Errorf("connected from port %d", port)
		}
	}
}

func TestDialReservedReportsRefusal(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	_ = listener.Close()
	if _, err := DialReserved(t.Context(), address); err == nil || errors.Is(err, ErrNoReservedPort) {
		t.Errorf("got %v, want the refusal", err)
	}
}
