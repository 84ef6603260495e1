package access

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Opened is what an Open has changed.
type Opened struct {
	Changed   []string // the volumes whose lists of clients are others now
	TakenFrom []string // the nodes that have lost the volume to the one that opens it
}

// Open grants a node the use of a volume, from privileged ports only when the call comes from one, too. It tells what it has changed also
// with an error. For a single-node volume, a node that counts as dead (see New) loses its grant to the new one, where that keeps it from
// writing.
func (b *Book) Open(c Caller, client Client, volume string, g store.Grant) (o Opened, err error) {
	record, err := describe(c, client)
	if err != nil {
		return o, err
	}
	defer b.begin()()
	if err := b.refuseGone(c.Node); err != nil {
		return o, err
	}
	if !b.inService(volume) {
		return o, fmt.Errorf("%w: %q", ErrNotFound, volume)
	}
	if o, err = b.takeOver(c.Node, volume, g); err != nil {
		return o, err
	}
	record.Grants = map[string]store.Grant{}
	if old, ok := b.nodes[c.Node]; ok {
		record.Generation = old.record.Generation
		if old.record.BootID == record.BootID {
			maps.Copy(record.Grants, old.record.Grants)
		}
	}
	g.PrivilegedPort = privileged(c, record.Grants)
	record.Grants[volume] = g
	more, err := b.put(record)
	o.Changed = merge(o.Changed, more)
	return o, err
}

// privileged tells whether a grant may be confined to privileged ports. Not when the connection comes from another: something on the
// way changes ports, those of mounts, too. And not while the node has any grant that is not confined: it may have mounted with it from
// another port, and its kernel uses the connections of a first mount for all that follow (nfs_match_client does not look at ports).
func privileged(c Caller, has map[string]store.Grant) bool {
	for _, g := range has {
		if !g.PrivilegedPort {
			return false
		}
	}
	return c.Privileged()
}

// kept are the grants that a node had before and still announces.
func kept(had, announced map[string]store.Grant) map[string]store.Grant {
	still := map[string]store.Grant{}
	for id, g := range had {
		if _, ok := announced[id]; ok {
			still[id] = g
		}
	}
	return still
}

func (b *Book) inService(volume string) bool {
	if v, ok := b.store.Volume(volume); ok {
		return v.State == store.StateReady
	}
	_, ok := b.static[volume]
	return ok
}

// takeOver removes the grants of dead nodes that stand in the way of a new one.
func (b *Book) takeOver(name, volume string, g store.Grant) (o Opened, err error) {
	for _, holder := range b.rivals(name, volume, g) {
		n := b.nodes[holder]
		admits := b.admitsAnyway(volume)
		if b.alive(n) || admits != "" {
			return o, fmt.Errorf("%w: node %q has it, and it is for one node at a time%s", ErrHeld, holder, b.advice(n, admits))
		}
		silence := b.silence(n)
		more, err := b.revoke(n, volume)
		if err != nil {
			return o, err
		}
		b.log.Info("A node that is silent loses a volume that is for one node at a time to another", "volume", volume,
			"node", holder, "silent", silence.Round(time.Second).String(), "newNode", name)
		o.Changed, o.TakenFrom = merge(o.Changed, more), append(o.TakenFrom, holder)
	}
	return o, nil
}

// admitsAnyway says why a node can reach a volume without a grant, and nothing when it cannot; the caller holds the lock. To take a grant
// away does not keep such a node from writing.
func (b *Book) admitsAnyway(volume string) string {
	x, static := b.static[volume]
	switch {
	case b.unfenced:
		return "an external server cannot be told to refuse it"
	case static && len(x.Config.Clients) > 0:
		return "the export's list of clients admits it all the same"
	case !static && len(b.everywhere) > 0:
		return "the networks in access.cidrs admit it all the same"
	}
	return ""
}

// advice is what to do about a node that has a volume: admits is why it may write whatever its grants are. The caller holds the lock.
func (b *Book) advice(n *node, admits string) string {
	const off = "when it is certainly off, taint it with node.kubernetes.io/out-of-service"
	silent := b.silence(n).Round(time.Second)
	switch {
	case n.streams > 0:
		return ""
	case admits != "":
		return fmt.Sprintf("; it has been silent for %s, but %s: %s, or delete its Node", silent, admits, off)
	}
	return fmt.Sprintf("; it has been silent for %s, and counts as dead after %s: wait, or, %s", silent, b.patience, off)
}

// rivals are other nodes whose grants exclude this one, in order of their names.
func (b *Book) rivals(name, volume string, g store.Grant) []string {
	var found []string
	for holder := range b.byVolume[volume] {
		if holder != name && (g.SingleNode || b.nodes[holder].record.Grants[volume].SingleNode) {
			found = append(found, holder)
		}
	}
	slices.Sort(found)
	return found
}

func (b *Book) revoke(n *node, volume string) ([]string, error) {
	record := n.record
	record.Grants = maps.Clone(record.Grants)
	delete(record.Grants, volume)
	changed, err := b.put(record)
	b.nodes[record.Name].heard = n.heard // it was not the node that spoke
	b.cutOff(volume)
	return changed, err
}

// Announcement is the whole truth of one node.
type Announcement struct {
	Generation int64
	Client     Client
	Grants     map[string]store.Grant
}

// Announce makes a node's grants equal to what it says it has staged. A grant that is newer than the announcement stays. One for a
// volume that is gone, or that another node has taken over, is not opened. Nothing is written when nothing has changed.
func (b *Book) Announce(c Caller, a Announcement) (changed []string, err error) {
	record, err := describe(c, a.Client)
	if err != nil {
		return nil, err
	}
	b.count(c.Node, 0) // it is heard now, however long changes wait for the disk
	defer b.begin()()
	if err := b.refuseGone(c.Node); err != nil {
		return nil, err
	}
	record.Generation = a.Generation
	record.Grants = map[string]store.Grant{}
	var had map[string]store.Grant
	old, known := b.nodes[c.Node]
	if known && old.record.BootID == record.BootID { // after a boot no older mount exists
		record.Generation = max(record.Generation, old.record.Generation)
		had = old.record.Grants
		for id, g := range had {
			if g.Generation > a.Generation {
				record.Grants[id] = g
			}
		}
	}
	confined := privileged(c, kept(had, a.Grants))
	for id, g := range a.Grants {
		if newer, ok := record.Grants[id]; ok && newer.Generation >= g.Generation {
			continue
		}
		if b.inService(id) && len(b.rivals(c.Node, id, g)) == 0 {
			g.PrivilegedPort = confined
			record.Grants[id] = g
		}
	}
	if known {
		old.heard = b.now()
		if same(old.record, record) {
			return nil, nil
		}
	}
	return b.put(record)
}

// same tells whether a record says nothing new. The generation alone is not worth a write: it only orders announcements
// against grants, and those have their own.
func same(a, b store.Node) bool {
	return a.BootID == b.BootID && slices.Equal(a.Addresses, b.Addresses) && a.SeenAddress == b.SeenAddress &&
		maps.Equal(a.Grants, b.Grants)
}

// Connected notes that a node has an announcement open, until the function that it returns is called.
func (b *Book) Connected(name string) (disconnected func()) {
	b.count(name, 1)
	return func() { b.count(name, -1) }
}

func (b *Book) count(name string, change int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if n, ok := b.nodes[name]; ok {
		n.streams += change
		n.heard = b.now()
	}
}

// Close ends all grants of a volume that is to be deleted, unless a living node holds one (ErrHeld). mark is called while no
// grant can be opened; after it the volume must not be in service any more.
func (b *Book) Close(volume string, mark func() error) error {
	defer b.begin()()
	var living []string
	advice := ""
	holders := slices.Sorted(maps.Keys(b.byVolume[volume]))
	admits := "" // the end of the export keeps clients out, whatever admits them
	if b.unfenced {
		admits = b.admitsAnyway(volume)
	}
	for _, holder := range holders {
		if n := b.nodes[holder]; b.alive(n) || admits != "" {
			living = append(living, holder)
			advice = b.advice(n, admits)
		}
	}
	if len(living) > 0 {
		return fmt.Errorf("%w on %s%s", ErrHeld, strings.Join(living, ", "), advice)
	}
	for _, holder := range holders {
		if _, err := b.revoke(b.nodes[holder], volume); err != nil {
			return err
		}
	}
	return b.durably(mark)
}

// Holders are the nodes with a grant for a volume, in order of their names.
func (b *Book) Holders(volume string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.byVolume[volume]))
}

// Writes reports whether a node may write to a volume.
func (b *Book) Writes(node, volume string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	n, ok := b.nodes[node]
	if !ok {
		return false
	}
	g, ok := n.record.Grants[volume]
	return ok && !g.ReadOnly
}

func merge(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}
