package access

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestNodeThatIsGoneLosesItsGrantsAndIsRefused(t *testing.T) {
	f := newFixture(t, "a", "b")
	lost, other := caller("lost", "10.0.0.1:700"), caller("other", "10.0.0.2:700")
	for _, c := range []Caller{lost, other} {
		if err := f.open(c, "a", store.Grant{Generation: 1}); err != nil {
			t.Fatal(err)
		}
	}
	disconnected := f.Connected("lost")
	if _, err := f.SetGone("lost", true, false); !errors.Is(err, ErrHeld) {
		t.Errorf("a node that announces itself is taken for gone: %v", err)
	}
	disconnected()
	changed, err := f.SetGone("lost", true, false)
	if err != nil || !slices.Equal(changed, []string{store.ID("a")}) {
		t.Fatalf("changed %v, %v", changed, err)
	}
	f.wantClients("a", "10.0.0.2 privileged")
	if got := f.Granted(); !slices.Equal(got, []string{"other"}) {
		t.Errorf("nodes with grants: %v", got)
	}

	f.reopen() // it is remembered
	if got := f.Gone(); !slices.Equal(got, []string{"lost"}) {
		t.Errorf("nodes that are gone: %v", got)
	}
	if err := f.open(lost, "b", store.Grant{Generation: 2}); !errors.Is(err, ErrGone) {
		t.Errorf("a node that is gone opens a volume: %v", err)
	}
	if _, err := f.Announce(lost, Announcement{Generation: 3, Grants: map[string]store.Grant{store.ID("b"): {Generation: 2}}}); !errors.Is(err, ErrGone) {
		t.Errorf("a node that is gone announces: %v", err)
	}
	if err := f.open(other, "b", store.Grant{Generation: 2}); err != nil {
		t.Errorf("another node is refused: %v", err)
	}

	if _, err := f.SetGone("lost", false, false); err != nil {
		t.Fatal(err)
	}
	f.announce(lost, 4, map[string]store.Grant{"a": {Generation: 1}}) // its mounts lived on
	f.wantClients("a", "10.0.0.1 privileged", "10.0.0.2 privileged")
}

// A node that was installed anew under its name announces nothing to servers that it has forgotten.
func TestGrantsOfABootThatIsOverEnd(t *testing.T) {
	f := newFixture(t, "a")
	f.Unfenced() // there a silent node would keep its volume for ever
	first, other := caller("first", "10.0.0.1:700"), caller("other", "10.0.0.2:700")
	single := store.Grant{Generation: 1, SingleNode: true}
	if err := f.open(first, "a", single); err != nil {
		t.Fatal(err)
	}
	nothing := func(when, boot string) {
		t.Helper()
		if changed, err := f.EndBoot("first", boot); len(changed) != 0 || err != nil || !slices.Equal(f.Granted(), []string{"first"}) {
			t.Errorf("%s: changed %v, %v, granted %v", when, changed, err, f.Granted())
		}
	}
	f.clock = f.clock.Add(patience - 1)
	nothing("it was heard a moment ago", "boot-1")
	if silent := f.SilentBoots(); len(silent) != 0 {
		t.Errorf("silent %v", silent)
	}
	f.clock = f.clock.Add(1)
	if silent := f.SilentBoots(); !maps.Equal(silent, map[string]string{"first": "boot-1"}) {
		t.Errorf("silent %v", silent)
	}
	nothing("it has booted since and opened the volume again", "boot-0")
	disconnected := f.Connected("first")
	nothing("it announces itself", "boot-1")
	disconnected()
	f.clock = f.clock.Add(patience)

	changed, err := f.EndBoot("first", "boot-1")
	if err != nil || !slices.Equal(changed, []string{store.ID("a")}) {
		t.Fatalf("changed %v, %v", changed, err)
	}
	if silent := f.SilentBoots(); len(silent) != 0 || len(f.Gone()) != 0 {
		t.Errorf("silent %v, gone %v", silent, f.Gone())
	}
	if err := f.open(other, "a", single); err != nil {
		t.Errorf("the volume is not free: %v", err)
	}
	if err := f.open(first, "a", single); !errors.Is(err, ErrHeld) {
		t.Errorf("the node is not like any other: %v", err)
	}
	if changed, err := f.EndBoot("never-heard-of", "boot-1"); len(changed) != 0 || err != nil {
		t.Errorf("changed %v, %v", changed, err)
	}
}

func TestFencedNodeIsGoneThoughItsConnectionLingers(t *testing.T) {
	f := newFixture(t, "a")
	lost := caller("lost", "10.0.0.1:700")
	if err := f.open(lost, "a", store.Grant{Generation: 1, SingleNode: true}); err != nil {
		t.Fatal(err)
	}
	f.Connected("lost")
	if _, err := f.SetGone("lost", true, true); err != nil {
		t.Fatal(err)
	}
	if err := f.open(caller("next", "10.0.0.3:700"), "a", store.Grant{Generation: 1, SingleNode: true}); err != nil {
		t.Errorf("the volume is not free: %v", err)
	}
	if _, err := f.SetGone("never-heard-of", true, false); err != nil {
		t.Error(err)
	}
}

// Nothing takes a volume on an external server from a node: silence is no reason to give it to another, nor to delete it.
func TestUnfencedNodeKeepsItsVolumeUntilItIsGone(t *testing.T) {
	f := newFixture(t, "a")
	f.Unfenced()
	lost, other := caller("lost", "10.0.0.1:700"), caller("other", "10.0.0.2:700")
	single := store.Grant{Generation: 1, SingleNode: true}
	if err := f.open(lost, "a", single); err != nil {
		t.Fatal(err)
	}
	f.clock = f.clock.Add(100 * patience)
	err := f.open(other, "a", single)
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "out-of-service") {
		t.Errorf("open beside a silent node: %v", err)
	}
	err = f.Close(store.ID("a"), func() error { return nil })
	if !errors.Is(err, ErrHeld) || !strings.Contains(err.Error(), "out-of-service") {
		t.Errorf("delete beside a silent node: %v", err)
	}
	if _, err := f.SetGone("lost", true, false); err != nil {
		t.Fatal(err)
	}
	if err := f.open(other, "a", single); err != nil {
		t.Errorf("open after the node is gone: %v", err)
	}
}
