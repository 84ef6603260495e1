package access

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

const patience = 100 * time.Second

type fixture struct {
	*Book
	t     *testing.T
	store *store.Store
	root  string
	clock time.Time
	log   logr.Logger
	said  []string // by the book, for people
}

func newFixture(t *testing.T, volumes ...string) *fixture {
	t.Helper()
	f := &fixture{t: t, root: t.TempDir(), clock: time.Unix(1000, 0)}
	f.log = funcr.New(func(_, args string) { f.said = append(f.said, args) }, funcr.Options{})
	f.reopen()
	for i, name := range volumes {
		v := store.Volume{
			ID: store.ID(name), Name: name, Spec: store.Spec{Bytes: 1 << 20, Squash: store.SquashNone},
			ExportID: uint16(i + 1), ProjectID: uint32(i + 1), State: store.StateReady,
		}
		if err := f.store.PutVolume(v); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// reopen is a restart of the agent.
func (f *fixture) reopen() {
	f.t.Helper()
	s, err := store.Open(f.root, store.Init{FilesystemID: "uuid"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.store = s
	f.Book = New(s, patience, func() time.Time { return f.clock }, f.log)
}

func caller(node, peer string) Caller { return Caller{Node: node, Peer: netip.MustParseAddrPort(peer)} }

// clients are the addresses that may use a volume, with their access.
func (f *fixture) clients(name string) []string {
	f.t.Helper()
	e, ok := f.Export(store.ID(name))
	if !ok {
		f.t.Fatalf("volume %s is not exported", name)
	}
	var all []string
	for _, c := range e.Clients {
		for _, a := range c.Addresses {
			text := a.String()
			if c.ReadOnly {
				text += " ro"
			}
			if c.PrivilegedPort {
				text += " privileged"
			}
			all = append(all, text)
		}
	}
	slices.Sort(all)
	return all
}

func (f *fixture) wantClients(name string, want ...string) {
	f.t.Helper()
	if got := f.clients(name); !slices.Equal(got, want) {
		f.t.Errorf("clients of %s are %q, want %q", name, got, want)
	}
}

func (f *fixture) open(c Caller, volume string, g store.Grant, addresses ...string) error {
	_, err := f.Open(c, Client{BootID: "boot-1", Addresses: addresses}, store.ID(volume), g)
	return err
}

func (f *fixture) announce(c Caller, generation int64, grants map[string]store.Grant, addresses ...string) []string {
	f.t.Helper()
	byID := map[string]store.Grant{}
	for name, g := range grants {
		byID[store.ID(name)] = g
	}
	changed, err := f.Announce(c, Announcement{Generation: generation, Client: Client{"boot-1", addresses}, Grants: byID})
	if err != nil {
		f.t.Fatal(err)
	}
	return changed
}

func TestOpenAdmitsAllAddressesOfTheNode(t *testing.T) {
	f := newFixture(t, "a", "b")
	addresses := []string{"10.0.0.1", "fd00::1", "127.0.0.1", "169.254.1.1", "fe80::1%eth0", "224.0.0.1", "x", "::ffff:10.0.0.1"}
	if err := f.open(caller("n1", "192.168.0.9:900"), "a", store.Grant{Generation: 1}, addresses...); err != nil {
		t.Fatal(err)
	}
	f.wantClients("a", "10.0.0.1 privileged", "192.168.0.9 privileged", "fd00::1 privileged")
	f.wantClients("b")
	f.reopen()
	f.wantClients("a", "10.0.0.1 privileged", "192.168.0.9 privileged", "fd00::1 privileged")
}

func TestAnAddressOfTwoNodesCountsForTheOneSeenUnderIt(t *testing.T) {
	f := newFixture(t, "a", "b")
	if err := f.open(caller("n1", "10.0.0.1:2000"), "a", store.Grant{Generation: 1, ReadOnly: true}, "10.0.0.1", "172.17.0.1"); err != nil {
		t.Fatal(err)
	}
	f.wantClients("a", "10.0.0.1 ro", "172.17.0.1 ro")
	opened, err := f.Open(caller("n2", "10.0.0.2:2000"), Client{"boot-1", []string{"10.0.0.2", "172.17.0.1"}}, store.ID("b"), store.Grant{Generation: 1})
	if err != nil || len(opened.Changed) != 2 || len(opened.TakenFrom) != 0 {
		t.Errorf("opened: %+v, %v, want both volumes changed, and none taken", opened, err)
	}
	f.wantClients("a", "10.0.0.1 ro")
	f.wantClients("b", "10.0.0.2")
	// The server moves to n1, and sees it under the bridge's address.
	f.announce(caller("n1", "172.17.0.1:2000"), 2, map[string]store.Grant{"a": {Generation: 1}}, "10.0.0.1", "172.17.0.1")
	f.wantClients("a", "10.0.0.1", "172.17.0.1")
	f.wantClients("b", "10.0.0.2")
}

func TestAnnouncementIsTheWholeTruth(t *testing.T) {
	f := newFixture(t, "a", "b", "c")
	n1 := caller("n1", "10.0.0.1:2000")
	f.announce(n1, 5, map[string]store.Grant{"a": {Generation: 1}, "b": {Generation: 2}, "unknown": {Generation: 3}})
	f.wantClients("a", "10.0.0.1")
	if err := f.open(n1, "c", store.Grant{Generation: 7}); err != nil {
		t.Fatal(err)
	}
	// Sent before c was opened: it must not close it.
	f.announce(n1, 6, map[string]store.Grant{"a": {Generation: 1}})
	f.wantClients("a", "10.0.0.1")
	f.wantClients("b")
	f.wantClients("c", "10.0.0.1")
	f.announce(n1, 8, nil)
	f.wantClients("a")
	f.wantClients("c")
}

func TestABootEndsOlderGrantsWhateverTheirGeneration(t *testing.T) {
	f := newFixture(t, "a")
	n1 := caller("n1", "10.0.0.1:2000")
	if err := f.open(n1, "a", store.Grant{Generation: 100}); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Announce(n1, Announcement{Generation: 1, Client: Client{BootID: "boot-2"}}); err != nil {
		t.Fatal(err)
	}
	f.wantClients("a")
}

func TestAnUnchangedAnnouncementChangesNothing(t *testing.T) {
	f := newFixture(t, "a")
	n1 := caller("n1", "10.0.0.1:2000")
	grants := map[string]store.Grant{"a": {Generation: 1}}
	if changed := f.announce(n1, 1, grants, "10.0.0.1"); len(changed) != 1 {
		t.Errorf("changed %v", changed)
	}
	if changed := f.announce(n1, 2, grants, "10.0.0.1"); len(changed) != 0 {
		t.Errorf("changed %v, want nothing", changed)
	}
}

func TestSingleNodeVolumes(t *testing.T) {
	single := store.Grant{Generation: 1, SingleNode: true}
	n1, n2 := caller("n1", "10.0.0.1:2000"), caller("n2", "10.0.0.2:2000")
	for name, c := range map[string]struct {
		wait      time.Duration
		announces bool // n1 holds a stream open
		second    store.Grant
		want      error
	}{
		"the first was heard a while ago": {patience - 1, false, single, ErrHeld},
		"the first announces":             {time.Hour, true, single, ErrHeld},
		"the first is silent":             {patience, false, single, nil},
		"the second would share":          {0, false, store.Grant{Generation: 1}, ErrHeld},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, "a")
			if err := f.open(n1, "a", single); err != nil {
				t.Fatal(err)
			}
			if c.announces {
				defer f.Connected("n1")()
			}
			f.clock = f.clock.Add(c.wait)
			if err := f.open(n2, "a", c.second); !errors.Is(err, c.want) {
				t.Fatalf("error %v, want %v", err, c.want)
			}
			if c.want != nil {
				f.wantClients("a", "10.0.0.1")
				if len(f.said) != 0 {
					t.Errorf("said %q", f.said)
				}
				return
			}
			for _, part := range []string{`"node"="n1"`, `"newNode"="n2"`, `"volume"="` + store.ID("a"), `"silent"="1m40s"`} {
				if len(f.said) != 1 || !strings.Contains(f.said[0], part) {
					t.Errorf("%s is missing where it says %q", part, f.said)
				}
			}
			f.wantClients("a", "10.0.0.2")
			// The first comes back and still has it staged: it stays out.
			f.announce(n1, 9, map[string]store.Grant{"a": single})
			f.wantClients("a", "10.0.0.2")
		})
	}
}

func TestARefusedNodeIsToldForHowLongAndWhatToDo(t *testing.T) {
	f := newFixture(t, "a")
	single := store.Grant{Generation: 1, SingleNode: true}
	if err := f.open(caller("n1", "10.0.0.1:2000"), "a", single); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(42 * time.Second)
	err := f.open(caller("n2", "10.0.0.2:2000"), "a", single)
	wantParts(t, err, `node "n1"`, "silent for 42s", "dead after 1m40s", "node.kubernetes.io/out-of-service")
	wantParts(t, f.Close(store.ID("a"), func() error { return nil }), "n1", "silent for 42s", "dead after 1m40s", "node.kubernetes.io/out-of-service")
	defer f.Connected("n1")()
	if err := f.open(caller("n2", "10.0.0.2:2000"), "a", single); !errors.Is(err, ErrHeld) || strings.Contains(err.Error(), "silent") {
		t.Errorf("beside a node that announces: %v", err)
	}
}

// wantParts checks that an ErrHeld says all of it.
func wantParts(t *testing.T, err error, parts ...string) {
	t.Helper()
	if !errors.Is(err, ErrHeld) {
		t.Fatalf("error %v, want ErrHeld", err)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
}

// The check of a disk and of its volumes can take longer than nodes have to announce themselves, and nobody hears them meanwhile.
func TestSilenceDoesNotCountBeforeNodesAreAnswered(t *testing.T) {
	f := newFixture(t, "a")
	single := store.Grant{Generation: 1, SingleNode: true}
	if err := f.open(caller("n1", "10.0.0.1:2000"), "a", single); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(time.Hour) // the server was away
	f.reopen()
	f.clock = f.clock.Add(patience)
	f.Answers()
	n2 := caller("n2", "10.0.0.2:2000")
	for _, later := range []time.Duration{0, patience - 1} {
		f.clock = f.clock.Add(later)
		if err := f.open(n2, "a", single); !errors.Is(err, ErrHeld) {
			t.Errorf("%s after the start: %v", later, err)
		}
		if err := f.Close(store.ID("a"), func() error { return nil }); !errors.Is(err, ErrHeld) {
			t.Errorf("%s after the start: deleted: %v", later, err)
		}
	}
	f.clock = f.clock.Add(1)
	if err := f.open(n2, "a", single); err != nil {
		t.Errorf("after its patience: %v", err)
	}
}

// What a node says while the disk hangs waits to be written, and the node is no less alive for it.
func TestANodeIsHeardWhileItsAnnouncementWaitsForTheDisk(t *testing.T) {
	f := newFixture(t, "a", "b")
	n1 := caller("n1", "10.0.0.1:2000")
	if err := f.open(n1, "a", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(patience)
	done := make(chan error, 1)
	err := f.Close(store.ID("b"), func() error {
		go func() {
			_, err := f.Announce(n1, Announcement{Generation: 2, Client: Client{BootID: "boot-1"}})
			done <- err
		}()
		deadline := time.After(20 * time.Second)
		for {
			f.mu.Lock()
			alive := f.alive(f.nodes["n1"])
			f.mu.Unlock()
			if alive {
				return nil
			}
			select {
			case <-deadline:
				return errors.New("the node is not heard")
			case <-time.After(time.Millisecond):
			}
		}
	})
	if err := errors.Join(err, <-done); err != nil {
		t.Error(err)
	}
}

func TestARefusedOpenTellsWhatItRevoked(t *testing.T) {
	f := newFixture(t, "a")
	for node, address := range map[string]string{"n1": "10.0.0.1:2000", "n2": "10.0.0.2:2000"} {
		if err := f.open(caller(node, address), "a", store.Grant{Generation: 1}); err != nil {
			t.Fatal(err)
		}
	}
	defer f.Connected("n2")()
	f.clock = f.clock.Add(patience)
	opened, err := f.Open(caller("n3", "10.0.0.3:2000"), Client{BootID: "boot-1"}, store.ID("a"), store.Grant{Generation: 1, SingleNode: true})
	if !errors.Is(err, ErrHeld) || !slices.Equal(opened.Changed, []string{store.ID("a")}) || !slices.Equal(opened.TakenFrom, []string{"n1"}) {
		t.Errorf("opened: %+v, %v", opened, err)
	}
	f.wantClients("a", "10.0.0.2")
}

func TestCloseOfAVolume(t *testing.T) {
	f := newFixture(t, "a")
	if err := f.open(caller("n1", "10.0.0.1:2000"), "a", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	marked := false
	mark := func() error { marked = true; return nil }
	if err := f.Close(store.ID("a"), mark); !errors.Is(err, ErrHeld) || marked {
		t.Errorf("closed while in use: %v", err)
	}
	f.clock = f.clock.Add(patience)
	if err := f.Close(store.ID("a"), mark); err != nil || !marked {
		t.Errorf("not closed: %v", err)
	}
	if holders := f.Holders(store.ID("a")); len(holders) != 0 {
		t.Errorf("holders %v", holders)
	}
}

// While the disk hangs, a change waits; who only asks does not, or the status of the whole server would wait, too.
func TestWhatThereIsCanBeReadWhileAChangeWaitsForTheDisk(t *testing.T) {
	f := newFixture(t, "a")
	if err := f.open(caller("n1", "10.0.0.1:2000"), "a", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(patience)
	if err := f.Close(store.ID("a"), func() error {
		f.Connected("n1")
		if announcing := f.Announcing(); len(announcing) != 1 || len(f.Granted()) != 0 {
			t.Errorf("granted %v, announcing %v", f.Granted(), announcing)
		}
		f.wantClients("a")
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	f := newFixture(t, "a")
	if err := f.open(caller("n1", "10.0.0.1:1"), "../a", store.Grant{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown volume: %v", err)
	}
	if err := f.open(caller("../n1", "10.0.0.1:1"), "a", store.Grant{}); !errors.Is(err, ErrInvalid) {
		t.Errorf("node name that is a path: %v", err)
	}
}

func TestHalfMadeAndLostVolumesAreNotInTheStartFile(t *testing.T) {
	f := newFixture(t, "a", "b", "lost")
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(f.store.VolumeDir(store.ID(name)), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	v, _ := f.store.Volume(store.ID("b"))
	v.State = store.StateCreating
	if err := f.store.PutVolume(v); err != nil {
		t.Fatal(err)
	}
	if all := f.Exports(); len(all) != 1 || all[0].Name != store.ID("a") {
		t.Errorf("exports %+v", all)
	}
}

func TestANodeWithManyAddressesIsAdmittedByItsConnectionAndTheFirst(t *testing.T) {
	f := newFixture(t, "a")
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("10.1.%d.%d", (999-i)/250, (999-i)%250+1))
	}
	many = append(many, many...)
	n1 := caller("n1", "10.9.9.9:2000")
	if err := f.open(n1, "a", store.Grant{Generation: 1}, many...); err != nil {
		t.Fatal(err)
	}
	for _, step := range []string{"opened", "announced", "reopened"} {
		e, _ := f.Export(store.ID("a"))
		got := e.Clients[0].Addresses
		if len(got) != maxAddresses+1 || got[0] != netip.MustParseAddr("10.1.0.1") || !slices.Contains(got, n1.Peer.Addr()) {
			t.Errorf("%s: %d addresses: %v", step, len(got), got)
		}
		if step == "opened" {
			f.announce(n1, 2, map[string]store.Grant{"a": {Generation: 1}}, many...)
		} else {
			f.reopen()
		}
	}
}

func TestAMountFromAnyPortIsNotRefusedWhenItsNodeConnectsFromAPrivilegedOne(t *testing.T) {
	f := newFixture(t, "a", "b")
	anyPort, privileged := caller("n1", "10.0.0.1:2000"), caller("n1", "10.0.0.1:900")
	if err := f.open(anyPort, "a", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	if err := f.open(privileged, "b", store.Grant{Generation: 2}); err != nil {
		t.Fatal(err)
	}
	grants := map[string]store.Grant{"a": {Generation: 1}, "b": {Generation: 2}}
	check := func() {
		t.Helper()
		f.wantClients("a", "10.0.0.1")
		f.wantClients("b", "10.0.0.1") // the kernel mounts it over the connection that a has made
	}
	check()
	f.announce(privileged, 3, grants)
	check()
	f.reopen()
	check()
	if err := f.open(privileged, "a", store.Grant{Generation: 4}); err != nil { // repeated; the mount may be there
		t.Fatal(err)
	}
	check()
	f.announce(privileged, 6, nil)
	if err := f.open(privileged, "a", store.Grant{Generation: 7}); err != nil {
		t.Fatal(err)
	}
	f.wantClients("a", "10.0.0.1 privileged")
	f.announce(anyPort, 8, map[string]store.Grant{"a": {Generation: 7}}) // now something on the way changes ports
	f.wantClients("a", "10.0.0.1")
}

func TestWhoWritesAndFromWhere(t *testing.T) {
	f := newFixture(t, "a", "b")
	for node, g := range map[string]store.Grant{"n1": {Generation: 1}, "n2": {Generation: 1, ReadOnly: true}} {
		if err := f.open(caller(node, "10.0.0.1:900"), "a", g); err != nil {
			t.Fatal(err)
		}
	}
	for node, want := range map[string]bool{"n1": true, "n2": false, "n3": false} {
		if f.Writes(node, store.ID("a")) != want || f.Writes(node, store.ID("b")) {
			t.Errorf("%s writes to a: %v, to b: %v", node, !want, f.Writes(node, store.ID("b")))
		}
	}
	if got := f.Unprivileged(); len(got) != 0 {
		t.Errorf("unprivileged: %v", got)
	}
	if err := f.open(caller("n3", "10.0.0.3:40000"), "b", store.Grant{Generation: 1}); err != nil {
		t.Fatal(err)
	}
	if got := f.Unprivileged(); !slices.Equal(got, []string{"n3"}) {
		t.Errorf("unprivileged: %v", got)
	}
}

// A node that is cut off may be alive, and Ganesha keep what it has open and locked: see cutOff.
func TestWhatACutOffNodeHoldsIsDropped(t *testing.T) {
	f := newFixture(t, "single", "shared", "left")
	epoch := func(name string) uint64 {
		e, _ := f.Export(store.ID(name))
		return e.Epoch
	}
	want := func(when, name string, epochs uint64) {
		t.Helper()
		if got := epoch(name); got != epochs {
			t.Errorf("%s: epoch %d of %s, want %d", when, got, name, epochs)
		}
	}
	n1, n2 := caller("n1", "10.0.0.1:2000"), caller("n2", "10.0.0.2:2000")
	single, many := store.Grant{Generation: 1, SingleNode: true}, store.Grant{Generation: 1}
	if err := errors.Join(f.open(n1, "single", single), f.open(n1, "shared", many), f.open(n1, "left", many), f.open(n2, "shared", many)); err != nil {
		t.Fatal(err)
	}
	f.announce(n1, 2, map[string]store.Grant{"single": single, "shared": many})
	want("closed by the node itself", "left", 0)
	f.clock = f.clock.Add(patience)
	if err := f.open(n2, "single", single); err != nil {
		t.Fatal(err)
	}
	want("taken over", "single", 1)
	if _, err := f.SetGone("n1", true, true); err != nil {
		t.Fatal(err)
	}
	want("another node has it open", "shared", 0)
	want("taken over before", "single", 1)
	if _, err := f.SetGone("n2", true, true); err != nil {
		t.Fatal(err)
	}
	want("the last node is gone", "shared", 1)
	want("the last node is gone", "single", 2)
}
