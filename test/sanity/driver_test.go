//go:build vm

// Package sanity tests the CSI driver over a real agent, a real Ganesha on XFS, and the kernel's NFS client. Only the
// API server is a fake: the custom resources are in memory, and certificates come from the authority directly.
package sanity

import (
	"context"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr/testr"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/announce"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/driver"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/agent/nas"
)

const (
	backendName = "test" // what package host calls it
	profileName = "standard"
	namespace   = "storage"
	nodeName    = "node-1"
	// The server's address, on the machine's only interface. Not a loopback address, or the node could not announce it.
	serverAddress = "10.77.0.1"
	mib           = 1 << 20
)

// machine is a virtual machine that is a server and a node at once.
type machine struct {
	host    *host.Host
	agent   *host.Agent
	mounter *mount.Linux
	dir     string // of the plugin

	share string // where the agent has mounted an external server's share; empty with a server of our own

	events      warnings
	giveUpAfter time.Duration // of the node plugins that are started from now on
}

// warnings are the node plugin's events.
type warnings struct {
	mu   sync.Mutex
	list []string
}

// Warn implements driver.Events.
func (w *warnings) Warn(reason, note string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.list = append(w.list, reason+": "+note)
}

func (w *warnings) all() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.list)
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	return newMachineWith(t, h, h.Config(host.DiskLarge))
}

// newExternalMachine is one whose volumes lie on the share of another NFS server.
func newExternalMachine(t *testing.T) *machine {
	t.Helper()
	h := host.New(t)
	n := nas.Start(t, nas.Options{Root: h.Root(), Device: host.DiskLarge})
	_, path := n.MakeDir(t, "share", 0o755)
	c := h.External(config.External{Server: nas.Address, Path: path, Owner: "cluster-1/" + backendName})
	m := newMachineWith(t, h, c)
	m.share = h.Path(c.DataDir)
	return m
}

func newMachineWith(t *testing.T, h *host.Host, c config.Config) *machine {
	t.Helper()
	// Fails when a former test has done it.
	_ = exec.CommandContext(t.Context(), "ip", "address", "add", serverAddress+"/32", "dev", "lo").Run()
	m := &machine{
		host: h, agent: h.Start(t, c), dir: t.TempDir(),
		mounter: mount.NewLinux(),
	}
	m.mounter.SetClientName(mount.ClientName(nodeName, "uid-1"))
	m.agent.WaitServing(t)
	return m
}

// source is the certificate of one of the driver's parts.
func (m *machine) source(t *testing.T, id pki.Identity) *pki.Source {
	t.Helper()
	dir := filepath.Join("/run", "csi-"+strings.ReplaceAll(id.Name, ":", "-"))
	if err := m.host.WriteIdentity(dir, id); err != nil {
		t.Fatal(err)
	}
	return pki.DirSource(m.host.Path(dir))
}

// controller makes the controller service.
func (m *machine) controller(t *testing.T) *driver.Controller {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	resources := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(
		&v1alpha1.NFSBackend{
			ObjectMeta: metav1.ObjectMeta{Name: backendName},
			Status:     v1alpha1.NFSBackendStatus{Shards: []v1alpha1.ShardStatus{{ServerID: "server-1", Serving: true, Address: serverAddress}}},
		},
		&v1alpha1.StorageProfile{
			ObjectMeta: metav1.ObjectMeta{Name: profileName},
			Spec:       v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: backendName}},
		},
	).Build()
	pool := agents.NewPool(m.source(t, pki.Identity{Role: pki.RoleController, Name: "csi-controller"}), nil)
	t.Cleanup(pool.Close)
	return driver.NewController(catalog.New(resources, resources), pool)
}

// dns is the cluster's DNS.
type dns struct{}

func (dns) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if name != names.Shard(backendName, 0)+"."+namespace+".svc" {
		return nil, &os.SyscallError{Syscall: "lookup " + name, Err: os.ErrNotExist}
	}
	return []netip.Addr{netip.MustParseAddr(serverAddress)}, nil
}

// startNode starts the node plugin as a process would: from what lies in its directory. stop ends it.
func (m *machine) startNode(t *testing.T) (node *driver.Node, state *nodestate.Store, stop func()) {
	t.Helper()
	bootID, err := announce.BootID()
	if err != nil {
		t.Fatal(err)
	}
	state, err = nodestate.Open(filepath.Join(m.dir, "state"), bootID, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := state.Recover(m.mounter); err != nil {
		t.Fatal(err)
	}
	if _, err := state.Reconcile(m.mounter, true); err != nil {
		t.Fatal(err)
	}
	pool := agents.NewPool(m.source(t, pki.Identity{Role: pki.RoleNode, Name: nodeName}), agents.DialReserved)
	finder := agents.NewNode(pool, dns{}, namespace, state)
	client := func() (*agentv1.Client, error) { return announce.Client(bootID) }
	announcer := announce.New(state, finder, client, m.mounter, testr.New(t))
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error)
	go func() { done <- announcer.Run(ctx) }()
	node = driver.NewNode(driver.NodeConfig{
		Name: nodeName, Mounter: m.mounter, Agents: finder, State: state, Announcer: announcer, Client: client,
		Events: &m.events, GiveUpAfter: m.giveUpAfter,
	})
	return node, state, func() {
		cancel()
		<-done
		pool.Close()
	}
}

// serve serves both parts of the driver on a socket.
func serve(t *testing.T, controller *driver.Controller, node *driver.Node) (address string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "csi.sock")
	listener, err := server.Listen(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	g := server.New(testr.New(t), server.NewMetrics(prometheus.NewRegistry()))
	csi.RegisterIdentityServer(g, driver.NewIdentity(func() bool { return true }))
	csi.RegisterControllerServer(g, controller)
	if node != nil {
		csi.RegisterNodeServer(g, node)
	}
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)
	return "unix://" + path
}

// connect is a client of that socket.
func connect(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// wantNothingLeft checks that no test has left anything on the node or on the server.
func (m *machine) wantNothingLeft(t *testing.T) {
	t.Helper()
	mounts, err := m.mounter.Mounts()
	if err != nil {
		t.Fatal(err)
	}
	agents := "" // the device that the agent has mounted
	for _, left := range mounts {
		if left.Target == m.share {
			agents = left.Device
		} else if left.IsNFS() {
			t.Errorf("left mounted: %+v", left)
		}
	}
	held, err := m.mounter.Filesystems()
	held = slices.DeleteFunc(held, func(f mount.Filesystem) bool { return f.Device == agents })
	if err != nil || len(held) > 0 {
		t.Errorf("the kernel still has %v, %v", held, err)
	}
	volumes, err := m.host.Controller(t).ListVolumes(t.Context(), &agentv1.ListVolumesRequest{})
	if err != nil || len(volumes.GetVolumes()) > 0 {
		t.Errorf("left on the server: %v, %v", volumes.GetVolumes(), err)
	}
}
