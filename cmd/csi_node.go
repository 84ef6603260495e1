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
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certificatesv1client "k8s.io/client-go/kubernetes/typed/certificates/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/announce"
	"github.com/nfs-operator/nfs-operator/csi/driver"
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
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	certificates, err := certificatesv1client.NewForConfig(config)
	if err != nil {
		return err
	}
	core, err := corev1client.NewForConfig(config)
	if err != nil {
		return err
	}
	dir := filepath.Join(o.kubeletDir, "plugins", names.Driver)
	mounter := mount.NewLinux()
	nameClient(ctx, log, mounter, core.Nodes(), o.nodeName)
	keeper, err := nodecert.New(filepath.Join(dir, "pki"), o.nodeName, o.caFile, certificates.CertificateSigningRequests(), log)
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
	client := func() (*agentv1.Client, error) { return announce.Client(bootID) }
	announcer := announce.New(state, finder, client, mounter, log)
	node := driver.NewNode(driver.NodeConfig{
		Name: o.nodeName, Mounter: mounter, Agents: finder, State: state, Announcer: announcer, Client: client,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return keeper.Run(ctx) })
	group.Go(func() error { return announcer.Run(ctx) })
	group.Go(func() error { return o.serve(ctx, log, dir, node) })
	return group.Wait()
}

// openState reads what the node has staged, and strikes out what ended with the node's last boot or in a crash.
func openState(log logr.Logger, dir, bootID string, mounter mount.Mounter) (*nodestate.Store, error) {
	state, err := nodestate.Open(dir, bootID, time.Now())
	if err != nil {
		return nil, err
	}
	gone, err := state.Reconcile(mounter, true)
	if err != nil {
		return nil, err
	}
	log.Info("Read the node's state", "volumesNotMounted", len(gone))
	return state, nil
}

// nameClient tells the kernel's NFS client who it is. Without it the node's hostname alone is its name, which is
// mostly enough: failures are only logged.
func nameClient(ctx context.Context, log logr.Logger, mounter *mount.Linux, nodes corev1client.NodeInterface, name string) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	node, err := nodes.Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		log.Error(err, "Cannot read the Node, whose UID is to name this NFS client")
		return
	}
	identifier, err := mounter.SetIdentifier(ctx, string(node.UID))
	if err != nil {
		log.Error(err, "Cannot name this NFS client")
		return
	}
	log.Info("Named this NFS client", "identifier", identifier)
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
