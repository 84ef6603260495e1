// Package nodecert gets the certificate by which a node plugin identifies its node to the agents, and renews it. The
// key is made on the node and never leaves it. The request says nothing that matters: the manager takes the node's
// name from what the API server notes of the requester, the node to which its service account token is bound.
package nodecert

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/renameio/v2"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// Requests are the API server's CertificateSigningRequests, as far as they are needed.
type Requests interface {
	Create(context.Context, *certificatesv1.CertificateSigningRequest, metav1.CreateOptions) (*certificatesv1.CertificateSigningRequest, error)
	Get(ctx context.Context, name string, options metav1.GetOptions) (*certificatesv1.CertificateSigningRequest, error)
}

const (
	// certFile holds the certificate and its key: one file, so that the two always belong together.
	certFile = "node.pem"
	// nextKeyFile is the key of a request that is not answered yet.
	nextKeyFile = "next.key"

	// pollPeriod is how often a pending request is looked at.
	pollPeriod = 2 * time.Second
	// askAgain is when a request that nobody answers is made anew: the API server deletes it after 24 hours.
	askAgain = 12 * time.Hour
	// retryPeriod is the pause after a failure.
	retryPeriod = 15 * time.Second
	// checkPeriod is how often the certificate is looked at.
	checkPeriod = time.Minute
)

var (
	errDenied  = errors.New("certificate request was denied")
	errExpired = errors.New("certificate request was not answered")
)

// Keeper keeps the certificate of one node in a directory.
type Keeper struct {
	dir      string
	node     string
	caFile   string
	requests Requests
	log      logr.Logger
	now      func() time.Time
}

// New makes a Keeper for a directory that only root can read; caFile is the bundle that all parts trust.
func New(dir, node, caFile string, requests Requests, log logr.Logger) (*Keeper, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return &Keeper{dir: dir, node: node, caFile: caFile, requests: requests, log: log, now: time.Now}, nil
}

// Source is the certificate with the bundle. It can be used before the first certificate is there: until then
// handshakes fail.
func (k *Keeper) Source() *pki.Source {
	file := filepath.Join(k.dir, certFile)
	return pki.FileSource(file, file, k.caFile)
}

// Run gets and renews the certificate until the context ends.
func (k *Keeper) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		pause := checkPeriod
		if k.needed() {
			if err := k.obtain(ctx); err != nil {
				if ctx.Err() == nil {
					k.log.Error(err, "Cannot get the node's certificate")
				}
				pause = retryPeriod
			}
		}
		wait(ctx, pause)
	}
	return nil
}

// needed reports whether there is no certificate for this node, or two thirds of its life are over, or agents would
// not trust it: its authority is not in the bundle any more.
func (k *Keeper) needed() bool {
	text, err := os.ReadFile(filepath.Join(k.dir, certFile))
	if err != nil {
		return true
	}
	cert, err := pki.ParseCertificate(text)
	if err != nil {
		return true
	}
	id, err := pki.IdentityOf(cert)
	return err != nil || id != k.identity() || !k.now().Before(pki.RenewalTime(cert)) || k.distrusted(cert)
}

func (k *Keeper) distrusted(cert *x509.Certificate) bool {
	bundle, err := os.ReadFile(k.caFile)
	if err != nil {
		return false // no news
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(bundle) {
		return false
	}
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: k.now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err != nil
}

func (k *Keeper) identity() pki.Identity { return pki.Identity{Role: pki.RoleNode, Name: k.node} }

// obtain makes a request, or takes up the one that a former process of this plugin made, and waits for the answer.
func (k *Keeper) obtain(ctx context.Context) error {
	key, keyPEM, err := k.nextKey()
	if err != nil {
		return err
	}
	request, err := k.request(key)
	if err != nil {
		return err
	}
	certPEM, err := k.await(ctx, request)
	if errors.Is(err, errDenied) || errors.Is(err, errExpired) {
		// The next attempt is another request with another key, hence another name.
		return errors.Join(err, os.Remove(filepath.Join(k.dir, nextKeyFile)))
	}
	if err != nil {
		return err
	}
	if err := k.check(certPEM, key); err != nil {
		return errors.Join(err, os.Remove(filepath.Join(k.dir, nextKeyFile)))
	}
	text := slices.Concat(certPEM, []byte("\n"), keyPEM)
	if err := renameio.WriteFile(filepath.Join(k.dir, certFile), text, 0o600); err != nil {
		return err
	}
	k.log.Info("Got the node's certificate", "request", request.Name)
	return os.Remove(filepath.Join(k.dir, nextKeyFile))
}

func (k *Keeper) nextKey() (crypto.Signer, []byte, error) {
	file := filepath.Join(k.dir, nextKeyFile)
	if text, err := os.ReadFile(file); err == nil {
		if key, err := parseKey(text); err == nil {
			return key, text, nil
		}
	}
	key, text, err := pki.NewKey()
	if err != nil {
		return nil, nil, err
	}
	return key, text, renameio.WriteFile(file, text, 0o600)
}

func parseKey(text []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("no PEM key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("key cannot sign")
	}
	return signer, nil
}

// request is named after its key, so that a plugin that was restarted finds its own.
func (k *Keeper) request(key crypto.Signer) (*certificatesv1.CertificateSigningRequest, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{Organization: []string{string(pki.RoleNode)}, CommonName: k.node},
	}, key)
	if err != nil {
		return nil, fmt.Errorf("create certificate request: %w", err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("marshal public key: %w", err)
	}
	sum := sha256.Sum256(public)
	lifetime := int32(pki.NodeLifetime / time.Second)
	return &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{
			Name:   "nfs-operator-csi-node-" + hex.EncodeToString(sum[:10]),
			Labels: map[string]string{names.LabelComponent: names.ComponentNode},
		},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request:           pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
			SignerName:        names.SignerNode,
			ExpirationSeconds: &lifetime,
			Usages:            []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth},
		},
	}, nil
}

// await polls: a watch would cost every node a connection, for something that happens every 20 days.
func (k *Keeper) await(ctx context.Context, request *certificatesv1.CertificateSigningRequest) ([]byte, error) {
	if _, err := k.requests.Create(ctx, request, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create CertificateSigningRequest: %w", err)
	}
	deadline := k.now().Add(askAgain)
	for {
		got, err := k.requests.Get(ctx, request.Name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil, errExpired // its time was over, or somebody deleted it
		}
		if err != nil {
			return nil, fmt.Errorf("get CertificateSigningRequest: %w", err)
		}
		if message, denied := refusal(got); denied {
			return nil, fmt.Errorf("%w: %s", errDenied, message)
		}
		if len(got.Status.Certificate) > 0 {
			return got.Status.Certificate, nil
		}
		if k.now().After(deadline) {
			return nil, errExpired
		}
		if !wait(ctx, pollPeriod) {
			return nil, ctx.Err()
		}
	}
}

func refusal(r *certificatesv1.CertificateSigningRequest) (string, bool) {
	for _, c := range r.Status.Conditions {
		if c.Status != corev1.ConditionFalse && (c.Type == certificatesv1.CertificateDenied || c.Type == certificatesv1.CertificateFailed) {
			return c.Message, true
		}
	}
	return "", false
}

// check refuses an answer that would not work, which is better said now than by each agent.
func (k *Keeper) check(certPEM []byte, key crypto.Signer) error {
	cert, err := pki.ParseCertificate(certPEM)
	if err != nil {
		return fmt.Errorf("parse issued certificate: %w", err)
	}
	id, err := pki.IdentityOf(cert)
	if err != nil {
		return err
	}
	if id != k.identity() {
		return fmt.Errorf("issued certificate is for %s %q, not for %q: is this pod's node another one?", id.Role, id.Name, k.node)
	}
	if public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !public.Equal(cert.PublicKey) {
		return errors.New("issued certificate is for another key")
	}
	if !k.now().Before(pki.RenewalTime(cert)) {
		return errors.New("issued certificate is too old")
	}
	return nil
}

func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
