package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nfs-operator/nfs-operator/controllers"
	"github.com/nfs-operator/nfs-operator/controllers/metricsauth"
	"github.com/nfs-operator/nfs-operator/internal/version"
)

type managerOptions struct {
	namespace      string
	metricsAddress string
	healthAddress  string
	leaderElection bool
}

func newManagerCommand() *cobra.Command {
	var options managerOptions
	command := &cobra.Command{
		Use:   "manager",
		Short: "Run the reconcilers: NFS servers, the CSI driver, storage classes and certificates",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return runManager(cmd.Context(), options) },
	}
	flags := command.Flags()
	flags.StringVar(&options.namespace, "namespace", os.Getenv("POD_NAMESPACE"), "namespace of the operator and of all that it runs")
	flags.StringVar(&options.metricsAddress, "metrics-bind-address", ":8443", "address of the metrics (HTTPS, for authorized clients), or 0 for none")
	flags.StringVar(&options.healthAddress, "health-probe-bind-address", ":8081", "address of /healthz and /readyz")
	flags.BoolVar(&options.leaderElection, "leader-elect", true, "work only while holding the lease, so that there can be more than one replica")
	return command
}

func runManager(ctx context.Context, options managerOptions) error {
	if options.namespace == "" {
		return errors.New("--namespace or POD_NAMESPACE must say which namespace this is")
	}
	ctrl.SetLogger(logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, nil)))
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "nfs-operator-manager/" + version.Version
	controllers.LimitRequests(config)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        controllers.Scheme(),
		Cache:                         controllers.CacheOptions(options.namespace),
		Client:                        controllers.ClientOptions(),
		Metrics:                       managerMetrics(options.metricsAddress),
		HealthProbeBindAddress:        options.healthAddress,
		LeaderElection:                options.leaderElection,
		LeaderElectionID:              "nfs-operator-manager",
		LeaderElectionNamespace:       options.namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		return fmt.Errorf("make manager: %w", err)
	}
	if err := controllers.SetupWithManager(ctx, mgr, options.namespace); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return err
	}
	go func() { _ = giveBackStartup(ctx, mgr.GetLogger()) }() // it logs what it cannot do
	return mgr.Start(ctx)
}

func managerMetrics(address string) metricsserver.Options {
	return metricsserver.Options{
		BindAddress:    address,
		SecureServing:  true,
		FilterProvider: metricsauth.FilterProvider,
		// HTTP/2 is not needed for a scraper, and has had its own kinds of denial of service.
		TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
	}
}
