package announce

import (
	"context"
	"fmt"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/go-logr/logr/testr"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/agents/fake"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	fakemount "github.com/nfs-operator/nfs-operator/csi/mount/fake"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const address = "10.0.0.1"

var shard = volumeid.Shard{Backend: "main", Number: 0}

// direct finds every shard at one address.
type direct struct {
	pool  *agents.Pool
	state *nodestate.Store
}

func (d direct) Connect(_ context.Context, s volumeid.Shard) (agents.Connection, error) {
	client, err := d.pool.Agent(s, address)
	return agents.Connection{Client: client, Address: address}, err
}

func (d direct) Confirm(s volumeid.Shard, address string) error {
	return d.state.SetAddress(s, address)
}

type node struct {
	agent     *fake.Agent
	stop      func() // of the agent
	state     *nodestate.Store
	mounts    *fakemount.Mounter
	announcer *Announcer
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{mounts: &fakemount.Mounter{}}
	n.agent, n.stop = fake.New(1 << 40)
	t.Cleanup(func() { n.stop() })
	state, err := nodestate.Open(t.TempDir(), "boot-1", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	n.state = state
	pool := fake.Pool(map[string]*fake.Agent{address: n.agent})
	t.Cleanup(pool.Close)
	client := func() (*agentv1.Client, error) {
		return &agentv1.Client{BootId: "boot-1", Addresses: []string{"192.0.2.1"}}, nil
	}
	n.announcer = New(state, direct{pool, state}, client, n.mounts, testr.New(t))
	return n
}

// run starts the announcer until the test's end.
func (n *node) run(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = n.announcer.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
}

// volume makes a volume at the agent and begins to stage it.
func (n *node) volume(t *testing.T, name string) nodestate.Volume {
	t.Helper()
	made, err := n.agent.CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: name, Spec: &agentv1.VolumeSpec{Bytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := n.state.Begin(nodestate.Volume{
		Handle: volumeid.Volume{Shard: shard, ID: made.GetId()}.String(), StagingPath: "/staging/" + name, SingleNode: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (n *node) granted(volumes ...nodestate.Volume) func() bool {
	var want []string
	for _, v := range volumes {
		want = append(want, v.Grant().GetVolumeId())
	}
	slices.Sort(want)
	return func() bool { return slices.Equal(n.agent.Granted(), want) }
}

func TestTruthAfterEveryChange(t *testing.T) {
	n := newNode(t)
	n.run(t)
	a := n.volume(t, "a")
	n.announcer.Changed(shard)
	eventually(t, "a granted", n.granted(a))
	b := n.volume(t, "b")
	n.announcer.Changed(shard)
	eventually(t, "a and b granted", n.granted(a, b))
	if err := n.state.Forget(a.Handle); err != nil {
		t.Fatal(err)
	}
	n.announcer.Changed(shard)
	eventually(t, "b granted", n.granted(b))
	if g := n.agent.Grant(b.Grant().GetVolumeId()); g.GetGeneration() != b.Generation || !g.GetSingleNode() || g.GetReadOnly() {
		t.Errorf("grant is %v", g)
	}
	last := n.agent.Announcements()
	if c := last[len(last)-1].GetClient(); c.GetBootId() != "boot-1" || !slices.Equal(c.GetAddresses(), []string{"192.0.2.1"}) {
		t.Errorf("client is %v", c)
	}
	if n.state.Address(shard) != address {
		t.Error("the address at which the agent answered is not remembered")
	}
}

func TestTruthAtStart(t *testing.T) {
	n := newNode(t)
	a := n.volume(t, "a")
	n.run(t)
	eventually(t, "a granted", n.granted(a))
}

func TestTruthAfterServerRestart(t *testing.T) {
	n := newNode(t)
	n.run(t)
	a := n.volume(t, "a")
	n.announcer.Changed(shard)
	eventually(t, "a granted", n.granted(a))
	n.stop()
	b := n.volume(t, "b")
	n.announcer.Changed(shard) // nobody hears it
	n.stop = n.agent.Serve()
	eventually(t, "a and b granted", n.granted(a, b))
}

// An agent whose grants have gone wrong in some way that nobody knows of is told them again.
func TestTruthIsToldAgainWhenNothingHappens(t *testing.T) {
	n := newNode(t)
	if n.announcer.period != 5*time.Minute {
		t.Errorf("told every %s", n.announcer.period)
	}
	n.announcer.period = 50 * time.Millisecond
	a := n.volume(t, "a")
	n.run(t)
	for range 3 {
		eventually(t, "a granted", n.granted(a))
		n.agent.Revoke(a.Grant().GetVolumeId())
	}
	eventually(t, "a granted", n.granted(a))
}

// A kubelet repeats an unstage that has succeeded.
func TestNewsOfAShardWithNothingLeftEndsItsWorker(t *testing.T) {
	n := newNode(t)
	n.run(t)
	n.announcer.Changed(shard)
	eventually(t, "worker gone", func() bool {
		n.announcer.mu.Lock()
		defer n.announcer.mu.Unlock()
		return len(n.announcer.changed) == 0
	})
}

func TestLastVolumeEndsStream(t *testing.T) {
	n := newNode(t)
	n.run(t)
	for i := range 3 {
		a := n.volume(t, fmt.Sprint("a", i))
		n.announcer.Changed(shard)
		eventually(t, "granted", n.granted(a))
		if err := n.state.Forget(a.Handle); err != nil {
			t.Fatal(err)
		}
		n.announcer.Changed(shard)
		eventually(t, "nothing granted", n.granted())
		eventually(t, "shard closed", func() bool { return len(n.state.OpenShards()) == 0 })
		eventually(t, "worker gone", func() bool {
			n.announcer.mu.Lock()
			defer n.announcer.mu.Unlock()
			return len(n.announcer.changed) == 0
		})
	}
}

func TestLingeringFilesystemKeepsGrant(t *testing.T) {
	n := newNode(t)
	n.run(t)
	a := n.volume(t, "a")
	held := mount.Filesystem{Device: "0:50", FSID: "1:1"}
	n.mounts.Hold(held)
	if err := n.state.Linger(a.Handle, held); err != nil {
		t.Fatal(err)
	}
	n.announcer.Changed(shard)
	eventually(t, "granted", n.granted(a))
	n.mounts.Drop(held)
	eventually(t, "closed when the kernel let go", n.granted())
}

func TestGlobalAddresses(t *testing.T) {
	var list []net.Addr
	for _, text := range []string{"127.0.0.1/8", "10.1.2.3/24", "fe80::1/64", "fd00::5/64", "169.254.1.1/16", "10.1.2.3/32", "::1/128"} {
		ip, network, err := net.ParseCIDR(text)
		if err != nil {
			t.Fatal(err)
		}
		network.IP = ip
		list = append(list, network)
	}
	if got := global(list); !slices.Equal(got, []string{"10.1.2.3", "fd00::5"}) {
		t.Errorf("got %v", got)
	}
	if c, err := Client("b"); err != nil || c.GetBootId() != "b" {
		t.Errorf("Client = %v, %v", c, err)
	}
	if id, err := BootID(); err != nil || len(id) != 36 {
		t.Errorf("BootID = %q, %v", id, err)
	}
}
