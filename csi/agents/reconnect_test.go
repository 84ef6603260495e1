package agents

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// slow is an agent of which one answer never comes.
type slow struct {
	agent

	asked chan struct{}
}

func (s slow) GetVolume(ctx context.Context, _ *agentv1.GetVolumeRequest) (*agentv1.Volume, error) {
	close(s.asked)
	<-ctx.Done()
	return nil, ctx.Err()
}

// network is a host with an agent that can go away.
type network struct {
	listener *bufconn.Listener
	gone     atomic.Bool
	refuse   func(context.Context) error // what becomes of a connection to a host that is gone
}

func (n *network) dial(ctx context.Context, _ string) (net.Conn, error) {
	if n.gone.Load() {
		return nil, n.refuse(ctx)
	}
	conn, err := n.listener.DialContext(ctx)
	return lossy{conn, &n.gone}, err
}

// lossy loses all that is sent to a host that is gone, and says nothing of it.
type lossy struct {
	net.Conn

	gone *atomic.Bool
}

func (l lossy) Write(p []byte) (int, error) {
	if l.gone.Load() {
		return len(p), nil
	}
	return l.Conn.Write(p)
}

// serve makes a client of an agent on a network. Time must be the test's own.
func (n *network) serve(t *testing.T, a agentv1.AgentServer) agentv1.AgentClient {
	t.Helper()
	n.listener = bufconn.Listen(1 << 16)
	server := grpc.NewServer()
	agentv1.RegisterAgentServer(server, a)
	go func() { _ = server.Serve(n.listener) }()
	t.Cleanup(server.Stop)
	pool := NewPool(plain{}, n.dial)
	t.Cleanup(pool.Close)
	client, err := pool.Agent(shard, "10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// TestAServerThatIsBackIsReachedSoon: pods wait until a server that has moved has heard of their nodes.
func TestAServerThatIsBackIsReachedSoon(t *testing.T) {
	for name, test := range map[string]struct {
		refuse func(context.Context) error
		within time.Duration
	}{
		"its host refused connections": {func(context.Context) error { return errors.New("refused") }, 1200 * time.Millisecond},
		"its host was gone":            {func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, 6200 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			for i := range 30 { // it may come back at any time between two attempts
				synctest.Test(t, func(t *testing.T) {
					n := &network{refuse: test.refuse}
					n.gone.Store(true)
					client := n.serve(t, agent{})
					away := 10*time.Minute + time.Duration(i)*700*time.Millisecond
					time.AfterFunc(away, func() { n.gone.Store(false) })
					begun := time.Now()
					_, err := client.GetCapacity(t.Context(), &agentv1.GetCapacityRequest{}, grpc.WaitForReady(true))
					if took := time.Since(begun) - away; err != nil || took < 0 || took > test.within {
						t.Errorf("reached %s after it was back, want %s: %v", took, test.within, err)
					}
				})
			}
		})
	}
}

// TestAConnectionToAHostThatIsGoneBreaks: nothing else tells that the host is gone, and a call without a deadline would wait for ever.
func TestAConnectionToAHostThatIsGoneBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &network{refuse: func(context.Context) error { return errors.New("no route") }}
		asked := make(chan struct{})
		client := n.serve(t, slow{asked: asked})
		go func() {
			<-asked
			n.gone.Store(true)
		}()
		begun := time.Now()
		_, err := client.GetVolume(t.Context(), &agentv1.GetVolumeRequest{})
		if took := time.Since(begun); status.Code(err) != codes.Unavailable || took > 16*time.Second {
			t.Errorf("broken %s after the host was gone, want 15 s: %v", took, err)
		}
	})
}
