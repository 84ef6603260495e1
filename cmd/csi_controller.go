package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/driver"
	"github.com/nfs-operator/nfs-operator/csi/server"
	"github.com/nfs-operator/nfs-operator/csi/sweep"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

type csiControllerOptions struct {
	csiAddress    string
	tlsDir        string
	namespace     string
	pod           string
	healthAddress string
	logLevel      int
}

func newCSIControllerCommand() *cobra.Command {
	var o csiControllerOptions
	cmd := &cobra.Command{
		Use:   "csi-controller",
		Short: "Run the controller part of the CSI driver, beside the sidecars",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return o.run(cmd.Context()) },
	}
	flags := cmd.Flags()
	flags.StringVar(&o.csiAddress, "csi-address", "unix:///csi/csi.sock", "`socket` at which the sidecars call")
	flags.StringVar(&o.tlsDir, "tls-dir", names.DirTLS, "`directory` with tls.crt, tls.key and ca.crt")
	flags.StringVar(&o.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "`namespace` of the operator")
	hostname, _ := os.Hostname() // the pod's name
	flags.StringVar(&o.pod, "pod", hostname, "`name` of this replica, which no other has")
	flags.StringVar(&o.healthAddress, "health-address", fmt.Sprintf(":%d", names.PortControllerHealth), "`address` of /livez, /readyz and /metrics")
	flags.IntVar(&o.logLevel, "log-level", 0, "how much is logged: 0 what happened, 1 every call, 4 also the frequent ones")
	return cmd
}

func (o csiControllerOptions) run(ctx context.Context) error {
	log := csiLog(o.logLevel).WithValues("namespace", o.namespace)
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	scheme, err := controllerScheme()
	if err != nil {
		return err
	}
	// Two kinds, cluster-scoped. All else is read when it is needed, which is seldom.
	resources, err := cache.New(config, cache.Options{Scheme: scheme, DefaultTransform: cache.TransformStripManagedFields()})
	if err != nil {
		return err
	}
	live, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return err
	}
	pool := agents.NewPool(pki.DirSource(o.tlsDir), nil)
	defer pool.Close()
	registry := csiRegistry()
	known := catalog.New(resources, live)
	var synced atomic.Bool
	health := server.Health{
		Address: o.healthAddress, Registry: registry,
		Live: func() error { return nil },
		Ready: func() error {
			if !synced.Load() {
				return errors.New("custom resources are not read yet")
			}
			return nil
		},
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return health.Serve(ctx) })
	group.Go(func() error { return giveBackStartup(ctx, log) })
	group.Go(func() error { return resources.Start(ctx) })
	group.Go(func() error {
		if err := waitForCache(ctx, resources); err != nil {
			return err
		}
		synced.Store(true)
		group.Go(func() error {
			return o.sweep(ctx, config, sweep.New(known, pool, o.objects(live, log), sweep.NewMetrics(registry), log))
		})
		g := server.New(log, server.NewMetrics(registry))
		csi.RegisterIdentityServer(g, driver.NewIdentity(func() bool { return true }))
		csi.RegisterControllerServer(g, driver.NewController(known, pool))
		listener, err := server.Listen(ctx, o.csiAddress)
		if err != nil {
			return err
		}
		log.Info("Serving", "address", o.csiAddress)
		return server.Serve(ctx, g, listener)
	})
	return group.Wait()
}

// sweep looks for volumes that nobody knows of, on one of the replicas.
func (o csiControllerOptions) sweep(ctx context.Context, config *rest.Config, sweeper *sweep.Sweeper) error {
	clients, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("make a client for leases: %w", err)
	}
	return sweep.Lead(ctx, clients, o.namespace, o.pod, sweeper.Run)
}

func (o csiControllerOptions) objects(live client.Client, log logr.Logger) *sweep.Objects {
	return sweep.NewObjects(live, o.pod, log)
}

func controllerScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	return scheme, errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme))
}

func waitForCache(ctx context.Context, resources cache.Cache) error {
	for _, kind := range []client.Object{&v1alpha1.StorageProfile{}, &v1alpha1.NFSBackend{}} {
		if _, err := resources.GetInformer(ctx, kind); err != nil {
			return fmt.Errorf("watch %T: %w", kind, err)
		}
	}
	if !resources.WaitForCacheSync(ctx) {
		return ctx.Err()
	}
	return nil
}

// csiLog is the log of a CSI plugin, and of the Kubernetes client in it.
func csiLog(level int) logr.Logger {
	handler := slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: slog.Level(-level)})
	log := logr.FromSlogHandler(handler)
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	return log
}

func csiRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}
