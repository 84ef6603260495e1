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
	appsv1 "k8s.io/api/apps/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/selection"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers"
	"github.com/nfs-operator/nfs-operator/controllers/metricsauth"
	"github.com/nfs-operator/nfs-operator/internal/names"
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
	// The reconcilers are bounded by their own concurrency; the client's default of 5 a second would slow a start.
	config.QPS, config.Burst = 50, 100
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme:                        managerScheme(),
		Cache:                         managerCache(options.namespace),
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
	return mgr.Start(ctx)
}

func managerScheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
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

// managerCache holds only what is ours, whatever the size of the cluster. Managed fields are kept: they tell what we
// have applied (package apply).
func managerCache(namespace string) cache.Options {
	ours := labels.SelectorFromSet(labels.Set{names.LabelManagedBy: names.FieldOwner})
	operand := cache.ByObject{Namespaces: map[string]cache.Config{namespace: {LabelSelector: ours}}}
	return cache.Options{ByObject: map[client.Object]cache.ByObject{
		&appsv1.StatefulSet{}:           operand,
		&appsv1.Deployment{}:            operand,
		&appsv1.DaemonSet{}:             operand,
		&corev1.Pod{}:                   operand,
		&corev1.Service{}:               operand,
		&corev1.ConfigMap{}:             operand,
		&corev1.Secret{}:                operand,
		&corev1.PersistentVolumeClaim{}: operand,
		&policyv1.PodDisruptionBudget{}: operand,
		&corev1.PersistentVolume{}:      {Label: exists(names.LabelBackend)},
		&certificatesv1.CertificateSigningRequest{}: {
			Field: fields.OneTermEqualSelector("spec.signerName", names.SignerNode),
		},
	}}
}

func exists(label string) labels.Selector {
	requirement, err := labels.NewRequirement(label, selection.Exists, nil)
	utilruntime.Must(err)
	return labels.NewSelector().Add(*requirement)
}
