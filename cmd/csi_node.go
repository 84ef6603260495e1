package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/announce"
	"github.com/nfs-operator/nfs-operator/csi/driver"
	"github.com/nfs-operator/nfs-operator/csi/event"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodecert"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/registration"
	"github.com/nfs-operator/nfs-operator/csi/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

type csiNodeOptions struct {
	nodeName      string
	namespace     string
	kubeletDir    string
	caFile        string
	healthAddress string
	logLevel      int
}

func newCSINodeCommand() *cobra.Command {
	var o csiNodeOptions
	cmd := &cobra.Command{
		Use:   "csi-node",
		Short: "Run the node part of the CSI driver, which mounts volumes",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.nodeName, "node-name", os.Getenv("NODE_NAME"), "`name` of the Node that this is")
	flags.StringVar(&o.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "`namespace` of the operator, where the servers' Services are")
	flags.StringVar(&o.kubeletDir, "kubelet-dir", "/var/lib/kubelet", "the kubelet's `directory`, mounted at its own path")
	flags.StringVar(&o.caFile, "ca-file", filepath.Join(names.DirTLS, names.KeyCA), "`file` with the certificates of those who sign the agents'")
	flags.StringVar(&o.healthAddress, "health-address", fmt.Sprintf("127.0.0.1:%d", names.PortNodeHealth), "`address` of /livez, /readyz and /metrics")
	flags.IntVar(&o.logLevel, "log-level", 0, "how much is logged: 0 what happened, 1 every call, 4 also the frequent ones")
	return cmd
}

func (o csiNodeOptions) run(ctx context.Context) error {
	if o.nodeName == "" || o.namespace == "" {
		return errors.New("--node-name (or NODE_NAME) and --namespace (or POD_NAMESPACE) are required")
	}
	log := csiLog(o.logLevel).WithValues("node", o.nodeName)
	api, err := newNodeAPI()
	if err != nil {
		return err
	}
	dir := filepath.Join(o.kubeletDir, "plugins", names.Driver)
	mounter := mount.NewLinux()
	events := event.NewNode(api.events.Events(event.Namespace), o.nodeName, log)
	defer events.Wait()
	api.nameClient(ctx, log, mounter, events, o.nodeName)
	keeper, err := nodecert.New(filepath.Join(dir, "pki"), o.nodeName, o.caFile, api.certificates.CertificateSigningRequests(), log)
	if err != nil {
		return err
	}
	bootID, err := announce.BootID()
	if err != nil {
		return err
	}
	state, err := openState(log, filepath.Join(dir, "state"), bootID, mounter)
	if err != nil {
		return err
	}
	pool := agents.NewPool(keeper.Source(), agents.DialReserved)
	defer pool.Close()
	finder := agents.NewNode(pool, net.DefaultResolver, o.namespace, state)
	finder.Published = api.serverAddress
	client := func() (*agentv1.Client, error) { return announce.Client(bootID) }
	announcer := announce.New(state, finder, client, mounter, log)
	node := driver.NewNode(driver.NodeConfig{
		Name: o.nodeName, Mounter: mounter, Agents: finder, State: state, Announcer: announcer, Client: client,
		Events: events, BackendGone: api.backendGone, Published: api.serverAddress,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return keeper.Run(ctx) })
	group.Go(func() error { return announcer.Run(ctx) })
	group.Go(func() error { return node.FollowServers(logr.NewContext(ctx, log)) })
	group.Go(func() error { return giveBackStartup(ctx, log) })
	group.Go(func() error { return o.serve(ctx, log, dir, node) })
	return group.Wait()
}

// openState reads what the node has staged, finds what is mounted and not written down, and strikes out what ended with
// the node's last boot or in a crash.
func openState(log logr.Logger, dir, bootID string, mounter mount.Mounter) (*nodestate.Store, error) {
	state, err := nodestate.Open(dir, bootID, time.Now())
	if err != nil {
		return nil, err
	}
	for _, file := range state.Unreadable() {
		log.Info("A file of the node's state cannot be read and is put aside; what is mounted is found again", "file", file)
	}
	found, err := state.Recover(mounter)
	if err != nil {
		return nil, err
	}
	gone, err := state.Reconcile(mounter, true)
	if err != nil {
		return nil, err
	}
	log.Info("Read the node's state", "volumes", len(state.Volumes()), "volumesNotMounted", len(gone), "volumesFoundAgain", found)
	return state, nil
}

// serve serves CSI, and registers the driver with the kubelet only then.
func (o csiNodeOptions) serve(ctx context.Context, log logr.Logger, dir string, node *driver.Node) error {
	csiSocket := filepath.Join(dir, "csi.sock")
	registrationSocket := filepath.Join(o.kubeletDir, "plugins_registry", names.Driver+"-reg.sock")
	csiListener, err := server.Listen(ctx, csiSocket)
	if err != nil {
		return err
	}
	registry := csiRegistry()
	metrics := server.NewMetrics(registry)
	csiServer := server.New(log, metrics)
	csi.RegisterIdentityServer(csiServer, driver.NewIdentity(func() bool { return true }))
	csi.RegisterNodeServer(csiServer, node)

	registrar := registration.New(names.Driver, csiSocket)
	registrationServer := server.New(log, metrics)
	registrar.Register(registrationServer)
	health := server.Health{Address: o.healthAddress, Live: registrar.Live, Ready: registrar.Ready, Registry: registry}

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return server.Serve(ctx, csiServer, csiListener) })
	group.Go(func() error { return health.Serve(ctx) })
	group.Go(func() error { return registrar.Refused(ctx) })
	group.Go(func() error {
		registrationListener, err := server.Listen(ctx, registrationSocket)
		if err != nil {
			return err
		}
		return server.Serve(ctx, registrationServer, registrationListener)
	})
	return group.Wait()
}
