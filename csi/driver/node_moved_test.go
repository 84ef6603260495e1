package driver

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// move has the server of the fixture's backend come back at another address, and waits until the node has announced itself there.
func (f *fixture) move(t *testing.T) {
	t.Helper()
	f.moved.Store(true)
	f.stop[0]()
	f.stop[0] = f.agents[0].Serve()
	shard := volumeid.Shard{Backend: backendName}
	eventually(t, "announced at the new address", func() bool { return f.state.Address(shard) == movedAddress })
}

// publishAddress has the NFSBackend say an address.
func (f *fixture) publishAddress(address string) {
	f.node.Published = func(context.Context, volumeid.Shard) string { return address }
}

// The kubelet looks at the path before it asks for the volume to be staged: it must find nothing there.
func TestMountOfAnAddressThatTheServerHasLeft(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c))
	f.move(t)
	f.node.GiveUpAfter = -1
	for _, published := range []string{addressOf(0), "", "10.9.9.9"} {
		f.publishAddress(published)
		f.node.leaveFormerAddresses(t.Context())
		if _, mounted := f.mounted(t, c.staging); !mounted {
			t.Fatalf("given up though the NFSBackend says %q", published)
		}
	}
	f.publishAddress(movedAddress)
	f.mounts.Before(func(_ context.Context, op, _ string) error {
		if op == "force" {
			return mount.ErrTimeout
		}
		return nil
	})
	f.node.leaveFormerAddresses(t.Context())
	f.mounts.Before(nil)
	f.node.leaveFormerAddresses(t.Context()) // what failed is tried again
	if _, mounted := f.mounted(t, c.staging); mounted {
		t.Fatal("the mount is still there")
	}
	if warned := strings.Join(f.events.all(), "\n"); !strings.Contains(warned, "is at "+movedAddress+" now, and no longer at "+addressOf(0)) {
		t.Errorf("events: %q", warned)
	}
	must(t, f.stage(t, c))
	m, _ := f.mounted(t, c.staging)
	if host := mount.Host(m.Source); host != movedAddress {
		t.Errorf("mounted from %s", m.Source)
	}
	f.node.leaveFormerAddresses(t.Context())
	if again, _ := f.mounted(t, c.staging); again.Source != m.Source {
		t.Error("the new mount was given up")
	}
}

// A pod that still shows the former mount can be deleted, though the server answers.
func TestPodWithAMountOfAnAddressThatTheServerHasLeft(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c), f.publish(t, c, c.target, false))
	f.move(t)
	f.hang(mount.ErrTimeout, false)
	if f.unpublish(t, c, c.target) == nil {
		t.Fatal("given up though the NFSBackend does not say the new address")
	}
	f.publishAddress(movedAddress)
	must(t, f.unpublish(t, c, c.target), f.unstage(t, c))
	if calls := f.mounts.Calls(); !slices.Contains(calls, "force "+c.staging) {
		t.Errorf("calls %v", calls)
	}
}

func TestAServerThatIsWhereItWasLosesNoMount(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stage(t, c))
	f.publishAddress(addressOf(0))
	f.node.leaveFormerAddresses(t.Context())
	if _, mounted := f.mounted(t, c.staging); !mounted {
		t.Error("the mount was given up")
	}
}
