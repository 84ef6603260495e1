// Package access knows which node may use which volume, and from which addresses. It is where the list of clients of every
// export comes from.
//
// The address by which a server sees a node is no property of the node: it changes when the server moves. So a node reports
// all its addresses, and a grant admits those and the one that its control connection comes from.
package access

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

var (
	// ErrNotFound is returned for a volume that is not there or not in service.
	ErrNotFound = errors.New("volume not found")
	// ErrHeld is returned when a living node holds a grant that is in the way.
	ErrHeld = errors.New("volume is in use")
	// ErrGone is returned to a node that the cluster says is gone.
	ErrGone = errors.New("node is gone")
	// ErrInvalid is returned for requests that no repetition will make right.
	ErrInvalid = errors.New("invalid request")
)

// Patience is how long a node must have been silent before it counts as dead, and what it has may be given to another node or deleted. Only
// its control connection is heard, and its mounts live on without that: while its node plugin is replaced (an image is pulled), or cannot show a
// valid certificate. So it is what Kubernetes waits before it starts the pods of a silent node elsewhere (the toleration of
// node.kubernetes.io/unreachable that pods get by default), and costs those nothing.
const Patience = 5 * time.Minute

// maxAddresses is how many of the addresses that a node reports are kept. The one that its connection comes from is, in any case.
const maxAddresses = 64

// Book is the book of all grants. It is safe for concurrent use.
type Book struct {
	store    *store.Store
	patience time.Duration
	now      func() time.Time
	log      logr.Logger

	// changes is held by who changes grants, until the disk has it: two changes do not mix. mu is not held while the disk is waited for, so
	// that what there is can be read while the disk hangs. Who takes both takes changes first.
	changes sync.Mutex

	mu       sync.Mutex
	nodes    map[string]*node
	byVolume map[string]map[string]bool     // volume to the names of nodes that hold a grant
	claims   map[netip.Addr]map[string]bool // address to the names of nodes that report it

	answers    time.Time         // since when nodes can be heard
	unfenced   bool              // see Unfenced
	static     map[string]Static // by id
	everywhere []netip.Prefix    // may reach every volume, if there are any
	epochs     map[string]uint64 // see cutOff
}

// node is what is known of one node. Its record is never changed, only replaced: the store has the same one.
type node struct {
	record    store.Node
	addresses []netip.Addr // reported
	seen      netip.Addr
	streams   int       // announcements that are open
	heard     time.Time // when it last said anything; zero when nothing since the agent's start
}

// New reads the grants from the store. A node that is silent for as long as patience counts as dead. None does before that time is over
// after New, or after Answers.
func New(s *store.Store, patience time.Duration, now func() time.Time, log logr.Logger) *Book {
	b := &Book{
		store: s, patience: patience, now: now, log: log, answers: now(),
		nodes: map[string]*node{}, byVolume: map[string]map[string]bool{}, claims: map[netip.Addr]map[string]bool{},
		epochs: map[string]uint64{},
	}
	for _, record := range s.Nodes() {
		b.index(&node{record: record})
	}
	return b
}

// Caller is who makes a call, as the connection says it: the name from the certificate, the address from the socket.
type Caller struct {
	Node string
	Peer netip.AddrPort
}

// Client is what the node says of itself.
type Client struct {
	BootID    string
	Addresses []string
}

// privilegedPorts end here: only privileged processes may bind a port below.
const privilegedPorts = 1024

// Privileged tells whether the connection comes from a port that only privileged processes may bind.
func (c Caller) Privileged() bool { return c.Peer.Port() > 0 && c.Peer.Port() < privilegedPorts }

// index puts a node into the maps by volume and by address, after unindex has taken its older self out.
func (b *Book) index(n *node) {
	name := n.record.Name
	n.addresses = parseAddresses(n.record.Addresses)
	n.seen, _ = netip.ParseAddr(n.record.SeenAddress)
	b.nodes[name] = n
	for id := range n.record.Grants {
		insert(b.byVolume, id, name)
	}
	for _, a := range n.claimed() {
		insert(b.claims, a, name)
	}
}

func (b *Book) unindex(n *node) {
	for id := range n.record.Grants {
		drop(b.byVolume, id, n.record.Name)
	}
	for _, a := range n.claimed() {
		drop(b.claims, a, n.record.Name)
	}
}

func insert[K comparable](m map[K]map[string]bool, key K, name string) {
	if m[key] == nil {
		m[key] = map[string]bool{}
	}
	m[key][name] = true
}

func drop[K comparable](m map[K]map[string]bool, key K, name string) {
	delete(m[key], name)
	if len(m[key]) == 0 {
		delete(m, key)
	}
}

// claimed are all addresses that a node would like to be admitted from.
func (n *node) claimed() []netip.Addr {
	all := slices.Clone(n.addresses)
	if n.seen.IsValid() && !slices.Contains(all, n.seen) {
		all = append(all, n.seen)
	}
	return all
}

// admitted are the addresses that count as the node's. One that another node claims too (docker0 has the same on every
// node) counts only for a node that was seen under it.
func (b *Book) admitted(n *node) []netip.Addr {
	return slices.DeleteFunc(n.claimed(), func(a netip.Addr) bool {
		return len(b.claims[a]) > 1 && a != n.seen
	})
}

// parseAddresses keeps what can be the source of a connection from another machine: sorted, each once, not more than maxAddresses.
func parseAddresses(texts []string) []netip.Addr {
	var all []netip.Addr
	for _, text := range texts {
		a, err := netip.ParseAddr(text)
		if err != nil {
			continue
		}
		a = a.Unmap().WithZone("")
		if a.IsGlobalUnicast() {
			all = append(all, a)
		}
	}
	slices.SortFunc(all, netip.Addr.Compare)
	all = slices.Compact(all)
	return slices.Clone(all[:min(len(all), maxAddresses)])
}

// Unfenced tells the book that nothing takes a volume from a node but the node itself: its grants are not the client lists of an external
// server. A silent node may still write then, and counts as alive until the cluster says that it is gone. It must be called before the book
// is used.
func (b *Book) Unfenced() { b.unfenced = true }

// Answers says that from now on nodes are answered: until now none could be heard, however long the start has taken.
func (b *Book) Answers() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answers = b.now()
}

func (b *Book) alive(n *node) bool {
	return n.streams > 0 || b.silence(n) < b.patience
}

// silence is for how long nothing was heard of a node that could have been heard; the caller holds the lock.
func (b *Book) silence(n *node) time.Duration {
	if n.streams > 0 {
		return 0
	}
	if n.heard.Before(b.answers) {
		return b.now().Sub(b.answers)
	}
	return b.now().Sub(n.heard)
}

// begin lets the caller change grants, until it calls end.
func (b *Book) begin() (end func()) {
	b.changes.Lock()
	b.mu.Lock()
	return func() {
		b.mu.Unlock()
		b.changes.Unlock()
	}
}

// durably does what waits for the disk. Others may read meanwhile, and nodes connect, but nobody changes a grant.
func (b *Book) durably(write func() error) error {
	b.mu.Unlock()
	defer b.mu.Lock()
	return write()
}

// put writes a node's new record, and returns the volumes whose lists of clients may have changed by it. The caller has called begin.
func (b *Book) put(record store.Node) ([]string, error) {
	if err := b.durably(func() error { return b.store.PutNode(record) }); err != nil {
		return nil, err
	}
	old, known := b.nodes[record.Name]
	fresh := &node{record: record, heard: b.now()}
	touched := map[string]bool{}
	if known {
		fresh.streams = old.streams
		b.unindex(old)
	} else {
		old = &node{}
	}
	b.index(fresh)
	for id, grant := range record.Grants {
		if had, ok := old.record.Grants[id]; !ok || had != grant {
			touched[id] = true
		}
	}
	for id := range old.record.Grants {
		if _, ok := record.Grants[id]; !ok {
			touched[id] = true
		}
	}
	b.touchAddresses(old, fresh, touched)
	return slices.Sorted(maps.Keys(touched)), nil
}

// touchAddresses adds the volumes of all nodes whose admitted addresses may have changed: the node's own, and those of nodes
// that claim an address which it took up or gave up.
func (b *Book) touchAddresses(old, fresh *node, touched map[string]bool) {
	before, after := old.claimed(), fresh.claimed()
	if slices.Equal(before, after) && old.seen == fresh.seen {
		return
	}
	for id := range fresh.record.Grants {
		touched[id] = true
	}
	for _, a := range slices.Concat(before, after) {
		for name := range b.claims[a] {
			for id := range b.nodes[name].record.Grants {
				touched[id] = true
			}
		}
	}
}

// describe is the node's record as the caller and what it says of itself make it, without grants.
func describe(c Caller, client Client) (store.Node, error) {
	if !store.ValidDNSName(c.Node) {
		return store.Node{}, fmt.Errorf("%w: node name %q", ErrInvalid, c.Node)
	}
	addresses := parseAddresses(client.Addresses)
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.String()
	}
	return store.Node{
		Name: c.Node, BootID: strings.TrimSpace(client.BootID), Addresses: texts,
		SeenAddress: c.Peer.Addr().Unmap().WithZone("").String(),
	}, nil
}
