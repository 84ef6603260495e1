// Package agents holds the connections to the agents of the NFS servers: one per shard.
package agents

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Credentials authenticate this process to the agent of the named shard, and that agent to this process.
type Credentials interface {
	ClientCredentials(shard string) credentials.TransportCredentials
}

// Dialer opens the TCP connection to "address:port".
type Dialer func(ctx context.Context, address string) (net.Conn, error)

// Pool keeps a connection to each shard that was asked for.
type Pool struct {
	creds Credentials
	dial  Dialer

	mu    sync.Mutex
	conns map[volumeid.Shard]connection
}

type connection struct {
	address string
	conn    *grpc.ClientConn
}

// NewPool makes an empty pool. A nil dialer is an ordinary one.
func NewPool(creds Credentials, dial Dialer) *Pool {
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		}
	}
	return &Pool{creds: creds, dial: dial, conns: map[volumeid.Shard]connection{}}
}

// Agent is the agent of a shard at an IP address. It is called before anything is connected: errors of the network
// come from the methods called on the result, as UNAVAILABLE.
func (p *Pool) Agent(shard volumeid.Shard, address string) (agentv1.AgentClient, error) {
	if _, err := netip.ParseAddr(address); err != nil {
		return nil, fmt.Errorf("address of %s: %w", shard.Name(), err)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	old, ok := p.conns[shard]
	if ok && old.address == address {
		return agentv1.NewAgentClient(old.conn), nil
	}
	target := "passthrough:///" + net.JoinHostPort(address, strconv.Itoa(names.PortAgent))
	conn, err := grpc.NewClient(target, p.options(shard)...)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", shard.Name(), err)
	}
	if ok {
		_ = old.conn.Close() // calls in progress on the former address fail with CANCELED and are repeated
	}
	p.conns[shard] = connection{address: address, conn: conn}
	return agentv1.NewAgentClient(conn), nil
}

// Close closes all connections.
func (p *Pool) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for shard, c := range p.conns {
		_ = c.conn.Close()
		delete(p.conns, shard)
	}
}

func (p *Pool) options(shard volumeid.Shard) []grpc.DialOption {
	const buffer = 4 << 10 // a node may be connected to 64 shards, and messages are small
	return []grpc.DialOption{
		grpc.WithTransportCredentials(p.creds.ClientCredentials(shard.Name())),
		grpc.WithContextDialer(p.dial),
		grpc.WithNoProxy(), // the cluster's own addresses, whatever HTTPS_PROXY says
		grpc.WithDisableServiceConfig(),
		// A server that is back must hear of its nodes at once: gRPC's own limit is 120 s.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		// A server whose host is gone answers nothing; the connection must break, so that a new one is made.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithIdleTimeout(time.Minute),
		grpc.WithReadBufferSize(buffer),
		grpc.WithWriteBufferSize(buffer),
	}
}
