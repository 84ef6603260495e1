package access

import (
	"maps"
	"os"
	"slices"

	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

var squash = map[store.Squash]ganesha.Squash{
	store.SquashNone: ganesha.SquashNone,
	store.SquashRoot: ganesha.SquashRoot,
	store.SquashAll:  ganesha.SquashAll,
}

// Exports lists every export, for the start of Ganesha. Half-made and deleted volumes have none; nor has one whose directory is
// gone: Ganesha would not start, and all others would be away with it.
func (b *Book) Exports() []ganesha.Export {
	var all []ganesha.Export
	for _, v := range b.store.Volumes() {
		if v.State == store.StateReady {
			all = append(all, b.export(v))
		}
	}
	b.mu.Lock()
	for _, id := range slices.Sorted(maps.Keys(b.static)) {
		all = append(all, b.staticExport(b.static[id]))
	}
	b.mu.Unlock()
	return slices.DeleteFunc(all, func(e ganesha.Export) bool {
		_, err := os.Lstat(e.Path)
		return err != nil
	})
}

// Export is the export of one volume, or a static one. A volume that is being made has one, so that it can be mounted as soon as it
// is ready.
func (b *Book) Export(name string) (ganesha.Export, bool) {
	if v, ok := b.store.Volume(name); ok && (v.State == store.StateReady || v.State == store.StateCreating) {
		return b.export(v), true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	x, ok := b.static[name]
	if !ok {
		return ganesha.Export{}, false
	}
	return b.staticExport(x), true
}

func (b *Book) export(v store.Volume) ganesha.Export {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := ganesha.Export{
		ID: v.ExportID, Name: v.ID, Path: b.store.VolumeDir(v.ID), FilesystemID: uint64(v.ProjectID),
		Squash: squash[v.Spec.Squash], AnonymousUID: v.Spec.AnonymousUID, AnonymousGID: v.Spec.AnonymousGID,
		Epoch: b.epochs[v.ID],
	}
	if len(b.everywhere) > 0 {
		e.Clients = []ganesha.Client{{Networks: b.everywhere}}
	} else {
		e.Clients = b.granted(v.ID)
	}
	return e
}

// granted are the nodes with a grant as the server's clients; the caller holds the lock.
func (b *Book) granted(id string) []ganesha.Client {
	var clients []ganesha.Client
	for _, holder := range slices.Sorted(maps.Keys(b.byVolume[id])) {
		n := b.nodes[holder]
		if addresses := b.admitted(n); len(addresses) > 0 {
			g := n.record.Grants[id]
			clients = append(clients, ganesha.Client{Addresses: addresses, ReadOnly: g.ReadOnly, PrivilegedPort: g.PrivilegedPort})
		}
	}
	return clients
}
