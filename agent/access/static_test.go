package access

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

func static(name string) Static {
	return Static{
		Record: store.Export{Name: name, Path: name, Bytes: 1 << 20, ExportID: 77, ProjectID: 78},
		Config: config.StaticExport{Name: name, Path: name, Squash: config.SquashRoot, AnonymousUID: 5, AnonymousGID: 6, Clients: []config.ExportClient{
			{CIDR: netip.MustParsePrefix("10.0.0.0/8")}, {CIDR: netip.MustParsePrefix("10.1.0.0/16"), ReadOnly: true},
		}},
	}
}

func TestAStaticExportAdmitsItsNetworksAndNodesWithAGrant(t *testing.T) {
	f := newFixture(t)
	if changed := f.SetExports(nil, []Static{static("media")}); !slices.Equal(changed, []string{"e-media"}) {
		t.Errorf("changed %v", changed)
	}
	if _, err := f.Open(caller("node-a", "192.0.2.1:700"), Client{BootID: "b"}, "e-media", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	got, ok := f.Export("e-media")
	want := ganesha.Export{
		ID: 77, Name: "e-media", Path: f.root + "/exports/media", FilesystemID: 78,
		Squash: ganesha.SquashRoot, AnonymousUID: 5, AnonymousGID: 6,
		Clients: []ganesha.Client{
			{Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1")}, PrivilegedPort: true},
			{Networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}},
			{Networks: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")}, ReadOnly: true},
		},
	}
	if !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	f.reopen() // the grant outlives the agent
	f.SetExports(nil, []Static{static("media")})
	if got, _ := f.Export("e-media"); !reflect.DeepEqual(got, want) {
		t.Errorf("after a restart: %+v", got)
	}
	if changed := f.SetExports(nil, nil); !slices.Equal(changed, []string{"e-media"}) {
		t.Errorf("changed %v", changed)
	}
	if got, ok := f.Export("e-media"); ok {
		t.Errorf("taken away, and there is %+v", got)
	}
}

func TestNetworksForAllVolumesReplaceGrants(t *testing.T) {
	f := newFixture(t, "pvc-1")
	id := store.ID("pvc-1")
	if _, err := f.Open(caller("node-a", "192.0.2.1:700"), Client{BootID: "b"}, id, store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	if changed := f.SetExports(networks, nil); !slices.Equal(changed, []string{id}) {
		t.Errorf("changed %v", changed)
	}
	if got, _ := f.Export(id); !reflect.DeepEqual(got.Clients, []ganesha.Client{{Networks: networks}}) {
		t.Errorf("clients %+v", got.Clients)
	}
	f.SetExports(nil, nil)
	if got, _ := f.Export(id); len(got.Clients) != 1 || len(got.Clients[0].Addresses) != 1 {
		t.Errorf("with grants again: %+v", got.Clients)
	}
}
