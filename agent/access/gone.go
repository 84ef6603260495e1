package access

import (
	"fmt"
	"slices"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// SetGone closes all grants of a node and refuses it from now on, or lets it come again. It returns the volumes whose lists
// of clients have changed. A node that announces itself is not gone (ErrHeld), unless it is fenced: somebody answers for it
// being switched off. It comes back with no grant: it announces what it has staged.
func (b *Book) SetGone(name string, gone, fenced bool) (changed []string, err error) {
	defer b.begin()()
	n, known := b.nodes[name]
	if !known || n.record.Gone == gone {
		return nil, nil
	}
	if gone && n.streams > 0 && !fenced {
		return nil, fmt.Errorf("%w: node %q announces itself", ErrHeld, name)
	}
	record := n.record
	record.Gone = gone
	if gone {
		record.Grants = map[string]store.Grant{}
	}
	changed, err = b.put(record)
	b.nodes[name].heard = n.heard // it was not the node that spoke
	for volume := range n.record.Grants {
		b.cutOff(volume)
	}
	return changed, err
}

// cutOff has what clients hold of a volume dropped, when the last node that could use it has lost that without its own word: the node may be alive,
// and renew the lease by which Ganesha keeps its locks for ever, for it has one for all volumes of a server. As long as other nodes use the volume,
// its export stays, and with it such locks. The caller holds the lock.
func (b *Book) cutOff(volume string) {
	if len(b.byVolume[volume]) == 0 && b.admitsAnyway(volume) == "" {
		b.epochs[volume]++
	}
}

// EndBoot closes the grants that a node got in a boot that is over: none of its mounts is there any more. It returns the volumes whose lists of
// clients have changed: none for a node that has another boot id by now, or does not count as dead.
func (b *Book) EndBoot(name, bootID string) (changed []string, err error) {
	defer b.begin()()
	n, known := b.nodes[name]
	if !known || n.record.BootID != bootID || len(n.record.Grants) == 0 || b.alive(n) {
		return nil, nil
	}
	record := n.record
	record.Grants = map[string]store.Grant{}
	changed, err = b.put(record)
	b.nodes[name].heard = n.heard // it was not the node that spoke
	return changed, err
}

// SilentBoots are the boot ids of nodes that hold a grant and count as dead, by their names.
func (b *Book) SilentBoots() map[string]string {
	b.mu.Lock()
	defer b.mu.Unlock()
	silent := map[string]string{}
	for name, n := range b.nodes {
		if len(n.record.Grants) > 0 && !b.alive(n) {
			silent[name] = n.record.BootID
		}
	}
	return silent
}

func (b *Book) refuseGone(name string) error {
	if n, known := b.nodes[name]; known && n.record.Gone {
		return fmt.Errorf("%w: the cluster has no node %q, or it is out of service; it is admitted again when the cluster has", ErrGone, name)
	}
	return nil
}

// Granted are the nodes that hold a grant, in order of their names.
func (b *Book) Granted() []string {
	return b.names(func(n *node) bool { return len(n.record.Grants) > 0 })
}

// Gone are the nodes that are refused, in order of their names.
func (b *Book) Gone() []string {
	return b.names(func(n *node) bool { return n.record.Gone })
}

// Unprivileged are the nodes with a grant that is not confined to privileged ports, in order of their names.
func (b *Book) Unprivileged() []string {
	return b.names(func(n *node) bool {
		for _, g := range n.record.Grants {
			if !g.PrivilegedPort {
				return true
			}
		}
		return false
	})
}

// Announcing are the nodes that have an announcement open, in order of their names.
func (b *Book) Announcing() []string {
	return b.names(func(n *node) bool { return n.streams > 0 })
}

func (b *Book) names(matches func(*node) bool) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var names []string
	for name, n := range b.nodes {
		if matches(n) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
