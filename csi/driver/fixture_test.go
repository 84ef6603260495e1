package driver

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	fakeagent "github.com/nfs-operator/nfs-operator/csi/agents/fake"
	"github.com/nfs-operator/nfs-operator/csi/announce"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	fakemount "github.com/nfs-operator/nfs-operator/csi/mount/fake"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	backendName = "main"
	profileName = "standard"
	diskBytes   = 1 << 44
)

// fixture is a driver with agents and a kernel in memory. Backend "main" has one server, "wide" has three.
type fixture struct {
	agents     []*fakeagent.Agent // main/0, wide/0, wide/1, wide/2
	stop       []func()
	mounts     *fakemount.Mounter
	state      *nodestate.Store
	announcer  *announce.Announcer
	endNode    func()
	gone       string      // NFSBackend that does not exist any more
	moved      atomic.Bool // main/0 is at movedAddress
	client     client.Client
	controller *Controller
	finder     finder
	who        func() (*agentv1.Client, error)
	dir        string // of the node's state
	events     *events
	node       *Node
}

func newFixture(t *testing.T, objects ...client.Object) *fixture {
	t.Helper()
	f := &fixture{mounts: &fakemount.Mounter{}}
	byAddress := map[string]*fakeagent.Agent{}
	for i := range 4 {
		agent, stop := fakeagent.New(diskBytes)
		t.Cleanup(func() { f.stop[i]() })
		f.agents, f.stop = append(f.agents, agent), append(f.stop, stop)
		byAddress[addressOf(i)] = agent
	}
	byAddress[movedAddress] = f.agents[0]
	pool := fakeagent.Pool(byAddress)
	t.Cleanup(pool.Close)
	f.client = newClient(t, objects)
	f.controller = NewController(catalog.New(f.client, f.client), pool)

	f.dir, f.events = t.TempDir(), &events{}
	f.finder = finder{agents.NewNode(pool, hosts{}, "ns", nil), pool, &f.state, &f.moved}
	f.who = func() (*agentv1.Client, error) { return &agentv1.Client{BootId: "boot"}, nil }
	f.startNode(t, "boot")
	return f
}

// startNode starts the node plugin from what lies in its directory, as a process does, and ends the one before.
func (f *fixture) startNode(t *testing.T, bootID string) {
	t.Helper()
	state, err := nodestate.Open(f.dir, bootID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Recover(f.mounts); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Reconcile(f.mounts, true); err != nil {
		t.Fatal(err)
	}
	if f.endNode != nil {
		f.endNode()
	}
	f.state = state
	f.announcer = announce.New(state, f.finder, f.who, f.mounts, logr.Discard())
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error)
	announcer := f.announcer
	go func() { done <- announcer.Run(ctx) }()
	f.endNode = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(f.endNode)
	f.node = NewNode(NodeConfig{
		Name: "node-1", Mounter: f.mounts, Agents: f.finder, State: state, Announcer: f.announcer, Client: f.who,
		Events: f.events, BackendGone: func(_ context.Context, backend string) bool { return f.gone == backend },
	})
}

// events keeps what was warned of.
type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) Warn(reason, note string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, reason+": "+note)
}

func (e *events) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.list)
}

func addressOf(i int) string { return fmt.Sprintf("10.0.0.%d", i+1) }

// finder finds the servers of the fixture without DNS.
type finder struct {
	*agents.Node // only for Silent and Resolve

	pool  *agents.Pool
	state **nodestate.Store
	moved *atomic.Bool
}

const movedAddress = "fd00::1"

// hosts is a DNS that knows nobody.
type hosts struct{}

func (hosts) LookupNetIP(context.Context, string, string) ([]netip.Addr, error) {
	return nil, errors.New("no DNS")
}

func (f finder) Connect(_ context.Context, shard volumeid.Shard) (agents.Connection, error) {
	address := addressOf(int(shard.Number))
	if shard.Backend == "wide" {
		address = addressOf(int(shard.Number) + 1)
	}
	if shard == (volumeid.Shard{Backend: backendName}) && f.moved.Load() {
		address = movedAddress
	}
	agent, err := f.pool.Agent(shard, address)
	return agents.Connection{Client: agent, Address: address}, err
}

func (f finder) Confirm(shard volumeid.Shard, address string) error {
	return (*f.state).SetAddress(shard, address)
}

func newClient(t *testing.T, objects []client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	all := append([]client.Object{
		backend(backendName, 0, 1), backend("wide", 1, 3), profile(profileName, backendName), profile("wide", "wide"),
	}, objects...)
	return fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(all...).Build()
}

func backend(name string, firstAddress, servers int) *v1alpha1.NFSBackend {
	b := &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for i := range servers {
		b.Status.Shards = append(b.Status.Shards, v1alpha1.ShardStatus{
			Shard: int32(i), ServerID: fmt.Sprintf("%s-%d", name, i), Serving: true, Address: addressOf(firstAddress + i),
		})
	}
	return b
}

func profile(name, backend string) *v1alpha1.StorageProfile {
	return &v1alpha1.StorageProfile{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: backend}},
	}
}

func capability(mode csi.VolumeCapability_AccessMode_Mode, flags ...string) *csi.VolumeCapability {
	return &csi.VolumeCapability{
		AccessType: &csi.VolumeCapability_Mount{Mount: &csi.VolumeCapability_MountVolume{MountFlags: flags}},
		AccessMode: &csi.VolumeCapability_AccessMode{Mode: mode},
	}
}

func createRequest(name string) *csi.CreateVolumeRequest {
	return &csi.CreateVolumeRequest{
		Name:               name,
		Parameters:         map[string]string{"profile": profileName},
		CapacityRange:      &csi.CapacityRange{RequiredBytes: gib},
		VolumeCapabilities: []*csi.VolumeCapability{capability(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)},
	}
}

func wantCode(t *testing.T, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("code is %s (%v), want %s", got, err, want)
	}
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
