package access

import (
	"errors"
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

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

// Where networks admit a node whatever its grants are, to take one from it keeps it from nothing: two nodes would write.
func TestASilentNodeThatNetworksAdmitKeepsItsVolume(t *testing.T) {
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	media := static("media")
	closed := media
	closed.Config.Clients = nil
	single := store.Grant{Generation: 1, SingleNode: true}
	for name, c := range map[string]struct {
		everywhere []netip.Prefix
		export     Static
		volume     string
		want       string
	}{
		"a volume of all networks":        {networks, media, store.ID("pvc-1"), "access.cidrs"},
		"a static export with networks":   {nil, media, "e-media", "the export's list"},
		"a static export of all networks": {networks, closed, "e-media", ""},
		"a volume beside a static export": {nil, media, store.ID("pvc-1"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "pvc-1")
			f.SetExports(c.everywhere, []Static{c.export})
			n2 := caller("n2", "10.0.0.2:700")
			open := func(who Caller) error {
				_, err := f.Open(who, Client{BootID: "b"}, c.volume, single)
				return err
			}
			if err := open(caller("n1", "10.0.0.1:700")); err != nil {
				t.Fatal(err)
			}
			f.clock = f.clock.Add(patience + time.Hour)
			err := open(n2)
			if c.want == "" {
				if err != nil {
					t.Errorf("a dead node stands in the way: %v", err)
				}
				return
			}
			wantParts(t, err, `node "n1"`, "silent for 1h1m40s", c.want, "node.kubernetes.io/out-of-service")
			if len(f.Holders(c.volume)) != 1 || len(f.said) != 0 {
				t.Errorf("holders %v, said %q", f.Holders(c.volume), f.said)
			}
			if _, err := f.SetGone("n1", true, true); err != nil {
				t.Fatal(err)
			}
			if err := open(n2); err != nil {
				t.Errorf("after the node was declared out of service: %v", err)
			}
		})
	}
}

// The export ends with its volume, and nobody writes there after that.
func TestAVolumeOfNetworksIsDeletedUnderADeadNode(t *testing.T) {
	f := newFixture(t, "a")
	f.SetExports([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, nil)
	if err := f.open(caller("n1", "10.0.0.1:700"), "a", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(patience - 1)
	if err := f.Close(store.ID("a"), func() error { return nil }); !errors.Is(err, ErrHeld) {
		t.Errorf("deleted under a node that may be alive: %v", err)
	}
	f.clock = f.clock.Add(1)
	if err := f.Close(store.ID("a"), func() error { return nil }); err != nil {
		t.Error(err)
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
