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
		if v.State != store.StateReady {
			continue
		}
		if _, err := os.Lstat(b.store.VolumeDir(v.ID)); err == nil {
			all = append(all, b.export(v))
		}
	}
	return all
}

// Export is one volume's export. A volume that is being made has one, so that it can be mounted as soon as it is ready.
func (b *Book) Export(name string) (ganesha.Export, bool) {
	v, ok := b.store.Volume(name)
	if !ok || v.State != store.StateReady && v.State != store.StateCreating {
		return ganesha.Export{}, false
	}
	return b.export(v), true
}

func (b *Book) export(v store.Volume) ganesha.Export {
	b.mu.Lock()
	defer b.mu.Unlock()
	e := ganesha.Export{
		ID: v.ExportID, Name: v.ID, Path: b.store.VolumeDir(v.ID), FilesystemID: uint64(v.ProjectID),
		Squash: squash[v.Spec.Squash], AnonymousUID: v.Spec.AnonymousUID, AnonymousGID: v.Spec.AnonymousGID,
	}
	for _, holder := range slices.Sorted(maps.Keys(b.byVolume[v.ID])) {
		n := b.nodes[holder]
		if addresses := b.admitted(n); len(addresses) > 0 {
			g := n.record.Grants[v.ID]
			e.Clients = append(e.Clients, ganesha.Client{Addresses: addresses, ReadOnly: g.ReadOnly, PrivilegedPort: g.PrivilegedPort})
		}
	}
	return e
}
