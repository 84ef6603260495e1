package access

import (
	"net/netip"
	"slices"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Static is a static export in service: what the disk keeps of it, and what the configuration says.
type Static struct {
	Record store.Export
	Config config.StaticExport
}

var staticSquash = map[config.Squash]ganesha.Squash{
	config.SquashNone: ganesha.SquashNone,
	config.SquashRoot: ganesha.SquashRoot,
	config.SquashAll:  ganesha.SquashAll,
}

// SetExports replaces the static exports, and the networks that reach every volume (none: only nodes with a grant do). It returns
// the exports that may have changed by it.
func (b *Book) SetExports(everywhere []netip.Prefix, exports []Static) (changed []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id := range b.static {
		changed = append(changed, id)
	}
	b.static = map[string]Static{}
	for _, x := range exports {
		id := store.StaticID(x.Config.Name)
		b.static[id] = x
		changed = append(changed, id)
	}
	if !slices.Equal(b.everywhere, everywhere) {
		for _, v := range b.store.Volumes() {
			changed = append(changed, v.ID)
		}
	}
	b.everywhere = slices.Clone(everywhere)
	slices.Sort(changed)
	return slices.Compact(changed)
}

// staticExport is one export; the caller holds the lock.
func (b *Book) staticExport(x Static) ganesha.Export {
	id := store.StaticID(x.Config.Name)
	e := ganesha.Export{
		ID: x.Record.ExportID, Name: id, Path: b.store.StaticRoot() + "/" + x.Record.Path, FilesystemID: uint64(x.Record.ProjectID),
		Squash: staticSquash[x.Config.Squash], AnonymousUID: x.Config.AnonymousUID, AnonymousGID: x.Config.AnonymousGID,
		Clients: b.granted(id), Epoch: b.epochs[id],
	}
	for _, readOnly := range []bool{false, true} {
		var networks []netip.Prefix
		for _, c := range x.Config.Clients {
			if c.ReadOnly == readOnly {
				networks = append(networks, c.CIDR)
			}
		}
		if len(networks) > 0 {
			e.Clients = append(e.Clients, ganesha.Client{Networks: networks, ReadOnly: readOnly})
		}
	}
	return e
}
