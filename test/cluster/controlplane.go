package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// defaultControllerQPS is kube-controller-manager's limit; Kubernetes' own default is 20.
const defaultControllerQPS = 200

// daemon is one program of the control plane.
type daemon struct {
	name string
	args []string
}

// controlPlane lists the programs in the order in which they are started.
func (c *cluster) controlPlane() []daemon {
	return []daemon{
		{"etcd", []string{
			"--data-dir=" + c.path("etcd"), "--unsafe-no-fsync", "--log-level=warn",
			"--listen-client-urls=http://127.0.0.1:2379", "--advertise-client-urls=http://127.0.0.1:2379",
			"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
			"--initial-cluster=default=http://127.0.0.1:2380", "--quota-backend-bytes=4294967296",
		}},
		{"kube-apiserver", []string{
			"--etcd-servers=http://127.0.0.1:2379", "--advertise-address=" + controlPlaneIP, "--bind-address=0.0.0.0",
			"--secure-port=6443", "--service-cluster-ip-range=" + serviceCIDR,
			"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged",
			"--client-ca-file=" + c.pki("ca.crt"),
			"--tls-cert-file=" + c.pki("apiserver.crt"), "--tls-private-key-file=" + c.pki("apiserver.key"),
			"--kubelet-client-certificate=" + c.pki("apiserver-kubelet-client.crt"),
			"--kubelet-client-key=" + c.pki("apiserver-kubelet-client.key"),
			"--kubelet-certificate-authority=" + c.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP",
			"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
			"--service-account-key-file=" + c.pki("service-account.key"),
			"--service-account-signing-key-file=" + c.pki("service-account.key"),
			"--audit-policy-file=" + c.path("audit.yaml"), "--audit-log-path=" + c.logFile("audit"), "--audit-log-maxsize=100", "--audit-log-maxbackup=3",
			"--enable-aggregator-routing", // webhooks are called at their pods: no kube-proxy runs here
		}},
		{"kube-controller-manager", []string{
			"--kubeconfig=" + c.pki("controller-manager.kubeconfig"), "--leader-elect=false", "--use-service-account-credentials",
			"--authentication-kubeconfig=" + c.pki("controller-manager.kubeconfig"),
			"--authorization-kubeconfig=" + c.pki("controller-manager.kubeconfig"),
			"--service-account-private-key-file=" + c.pki("service-account.key"), "--root-ca-file=" + c.pki("ca.crt"),
			"--cluster-signing-cert-file=" + c.pki("ca.crt"), "--cluster-signing-key-file=" + c.pki("ca.key"),
			"--cluster-cidr=" + podCIDR, fmt.Sprintf("--kube-api-qps=%d", c.controllerQPS()), fmt.Sprintf("--kube-api-burst=%d", c.controllerQPS()*3/2),
		}},
		{"kube-scheduler", []string{
			"--kubeconfig=" + c.pki("scheduler.kubeconfig"), "--leader-elect=false",
			"--authentication-kubeconfig=" + c.pki("scheduler.kubeconfig"),
			"--authorization-kubeconfig=" + c.pki("scheduler.kubeconfig"),
		}},
	}
}

// controllerQPS is 200 for clusters that were made before it could be chosen.
func (c *cluster) controllerQPS() int { return cmp.Or(c.ControllerQPS, defaultControllerQPS) }

// ensureControlPlane starts what does not run, and waits until the API server is ready.
func (c *cluster) ensureControlPlane(ctx context.Context, bin string) error {
	policy, err := templates.ReadFile("templates/audit.yaml")
	if err != nil {
		return err
	}
	if err := os.WriteFile(c.path("audit.yaml"), policy, 0o600); err != nil {
		return err
	}
	for _, d := range c.controlPlane() {
		if _, alive := c.running(d.name); !alive {
			if err := c.startDaemon(d.name, append([]string{filepath.Join(bin, d.name)}, d.args...)...); err != nil {
				return err
			}
		}
		if d.name != "kube-apiserver" {
			continue
		}
		if err := c.waitForAPIServer(ctx); err != nil {
			return fmt.Errorf("%w; the end of %s:\n%s", err, c.logFile(d.name), tail(c.logFile(d.name)))
		}
	}
	return nil
}

func (c *cluster) waitForAPIServer(ctx context.Context) error {
	client, err := c.httpClient()
	if err != nil {
		return err
	}
	return waitFor(ctx, 90*time.Second, "the API server", func() error {
		response, err := client.Get(c.apiServerURL() + "/readyz")
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode != http.StatusOK {
			return fmt.Errorf("%s: %s", response.Status, body)
		}
		return nil
	})
}

func (c *cluster) httpClient() (*http.Client, error) {
	authority, err := os.ReadFile(c.pki("ca.crt"))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	admin, err := tls.LoadX509KeyPair(c.pki("admin.crt"), c.pki("admin.key"))
	if err != nil {
		return nil, err
	}
	// A transport of its own: no proxy that the environment may name.
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{admin}},
	}}, nil
}
