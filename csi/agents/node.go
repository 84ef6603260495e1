package agents

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// resolveTimeout is how long DNS is waited for before the remembered address is taken.
const resolveTimeout = 2 * time.Second

// AddressBook remembers where shards were last reached.
type AddressBook interface {
	// Address is empty for a shard that was never reached.
	Address(shard volumeid.Shard) string
	SetAddress(shard volumeid.Shard, address string) error
}

// Node finds agents as a node plugin does: by the DNS name of the shard's Service.
type Node struct {
	// Published, if set, says where a shard is that was never reached, when DNS does not.
	Published func(ctx context.Context, shard volumeid.Shard) string
	pool      *Pool
	resolver  mount.Resolver
	namespace string
	book      AddressBook

	mu     sync.Mutex
	silent map[volumeid.Shard]time.Time // since when; none that has answered since
}

// Connection is an agent and the address at which it is reached. What the agent says of access holds for mounts of
// this very address: through another one the server might see the node differently.
type Connection struct {
	Client  agentv1.AgentClient
	Address string
}

// NewNode makes a Node for the Services of a namespace.
func NewNode(pool *Pool, resolver mount.Resolver, namespace string, book AddressBook) *Node {
	return &Node{pool: pool, resolver: resolver, namespace: namespace, book: book, silent: map[volumeid.Shard]time.Time{}}
}

// Connect finds a shard's agent.
func (n *Node) Connect(ctx context.Context, shard volumeid.Shard) (Connection, error) {
	address, err := n.locate(ctx, shard)
	if err != nil {
		return Connection{}, err
	}
	client, err := n.pool.Agent(shard, address)
	if err != nil {
		return Connection{}, err
	}
	return Connection{Client: client, Address: address}, nil
}

// Confirm remembers an address at which the right agent has answered. A name that is resolved is not enough: while the
// cluster's DNS starts, a wild card in a search domain may answer for it.
func (n *Node) Confirm(shard volumeid.Shard, address string) error {
	n.mu.Lock()
	delete(n.silent, shard)
	n.mu.Unlock()
	if n.book.Address(shard) == address {
		return nil
	}
	return n.book.SetAddress(shard, address)
}

// Resolve finds the address of an external server, which an agent has named.
func (n *Node) Resolve(ctx context.Context, host string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	return mount.Resolve(ctx, n.resolver, host)
}

// Silent is told that a shard's agent has not answered, and says for how long: since the first such call after the last
// Confirm.
func (n *Node) Silent(shard volumeid.Shard) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()
	since, ok := n.silent[shard]
	if !ok {
		since = time.Now()
		n.silent[shard] = since
	}
	return time.Since(since)
}

func (n *Node) locate(ctx context.Context, shard volumeid.Shard) (string, error) {
	lookup, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	name := shard.Name() + "." + n.namespace + ".svc"
	addresses, err := n.resolver.LookupNetIP(lookup, "ip", name)
	if err == nil && len(addresses) > 0 {
		return addresses[0].Unmap().String(), nil
	}
	known := n.book.Address(shard)
	if known == "" && n.Published != nil {
		known = n.Published(ctx, shard)
	}
	if known != "" {
		return known, nil
	}
	if err == nil {
		err = &net.DNSError{Err: "no address", Name: name}
	}
	return "", fmt.Errorf("find server %s: %w", shard.Name(), err)
}
