package nodecert

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr/testr"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// manager answers requests in memory, as the operator's manager does.
type manager struct {
	authority *pki.Authority
	node      string // the requester's, as the API server notes it
	silent    bool
	deny      bool
	mu        sync.Mutex
	requests  map[string]*certificatesv1.CertificateSigningRequest
}

func newManager(t *testing.T, node string) *manager {
	t.Helper()
	pair, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	authority, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return &manager{authority: authority, node: node, requests: map[string]*certificatesv1.CertificateSigningRequest{}}
}

func (m *manager) Create(_ context.Context, r *certificatesv1.CertificateSigningRequest, _ metav1.CreateOptions) (*certificatesv1.CertificateSigningRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.requests[r.Name] != nil {
		return nil, apierrors.NewAlreadyExists(schema.GroupResource{}, r.Name)
	}
	m.requests[r.Name] = r.DeepCopy()
	return r, nil
}

func (m *manager) Get(_ context.Context, name string, _ metav1.GetOptions) (*certificatesv1.CertificateSigningRequest, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r, ok := m.requests[name]
	if !ok {
		return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
	}
	switch {
	case m.deny:
		r.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{
			{Type: certificatesv1.CertificateDenied, Status: corev1.ConditionTrue, Message: "no"},
		}
	case !m.silent && r.Status.Certificate == nil:
		if err := m.sign(r); err != nil {
			return nil, err
		}
	}
	return r.DeepCopy(), nil
}

func (m *manager) sign(r *certificatesv1.CertificateSigningRequest) error {
	block, _ := pem.Decode(r.Spec.Request)
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	if err := request.CheckSignature(); err != nil {
		return err
	}
	r.Status.Certificate, err = m.authority.Sign(time.Now(), request.PublicKey, pki.Identity{Role: pki.RoleNode, Name: m.node}, pki.NodeLifetime)
	return err
}

func keeper(t *testing.T, dir string, m *manager) *Keeper {
	t.Helper()
	k, err := New(dir, "node-1", filepath.Join(dir, "ca.crt"), m, testr.New(t))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (m *manager) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.requests)
}

func (m *manager) one(t *testing.T) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	if len(m.requests) != 1 {
		t.Fatalf("%d requests, want 1", len(m.requests))
	}
	for _, r := range m.requests {
		return r
	}
	return nil
}

func TestObtain(t *testing.T) {
	dir, m := t.TempDir(), newManager(t, "node-1")
	k := keeper(t, dir, m)
	if !k.needed() {
		t.Fatal("not needed although there is none")
	}
	if err := k.obtain(t.Context()); err != nil {
		t.Fatal(err)
	}
	if k.needed() {
		t.Error("still needed")
	}
	r := m.one(t)
	if r.Spec.SignerName != names.SignerNode || len(r.Spec.Usages) != 2 || *r.Spec.ExpirationSeconds != 30*24*3600 {
		t.Errorf("request is %+v", r.Spec)
	}
	info, err := os.Stat(filepath.Join(dir, certFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("file: %v, %v", info, err)
	}
	if _, err := os.Stat(filepath.Join(dir, nextKeyFile)); !os.IsNotExist(err) {
		t.Errorf("the request's key is still there: %v", err)
	}
}

func TestRestartTakesUpTheSameRequest(t *testing.T) {
	dir, m := t.TempDir(), newManager(t, "node-1")
	m.silent = true
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := keeper(t, dir, m).obtain(ctx); err == nil {
		t.Fatal("got a certificate from nobody")
	}
	m.silent = false
	if err := keeper(t, dir, m).obtain(t.Context()); err != nil {
		t.Fatal(err)
	}
	m.one(t)
}

func TestRefusedAnswers(t *testing.T) {
	tests := map[string]func(*manager){
		"denied":       func(m *manager) { m.deny = true },
		"another node": func(m *manager) { m.node = "node-2" },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			dir, m := t.TempDir(), newManager(t, "node-1")
			change(m)
			k := keeper(t, dir, m)
			if err := k.obtain(t.Context()); err == nil {
				t.Fatal("accepted")
			}
			if !k.needed() {
				t.Error("a certificate was stored")
			}
			m.deny, m.node = false, "node-1"
			if err := k.obtain(t.Context()); err != nil {
				t.Errorf("the next attempt: %v", err)
			}
			if len(m.requests) != 2 {
				t.Errorf("%d requests, want 2", len(m.requests))
			}
		})
	}
}

func TestNewAuthorityMeansNewCertificate(t *testing.T) {
	dir, m := t.TempDir(), newManager(t, "node-1")
	k := keeper(t, dir, m)
	trust := func() {
		t.Helper()
		if err := os.WriteFile(k.caFile, m.authority.Bundle(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	trust()
	if err := k.obtain(t.Context()); err != nil || k.needed() {
		t.Fatalf("obtain: %v, still needed: %v", err, k.needed())
	}
	m.authority = newManager(t, "node-1").authority // the Secret was lost
	trust()
	if !k.needed() {
		t.Fatal("not needed although no agent trusts it")
	}
	if err := k.obtain(t.Context()); err != nil || k.needed() {
		t.Errorf("obtain: %v, still needed: %v", err, k.needed())
	}
}

func TestRenewalAtTwoThirds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newManager(t, "node-1")
		k := keeper(t, t.TempDir(), m)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- k.Run(ctx) }()
		time.Sleep(19 * 24 * time.Hour) //nolint:forbidigo // the bubble's clock
		if n := m.count(); n != 1 {
			t.Errorf("%d requests after 19 days", n)
		}
		time.Sleep(2 * 24 * time.Hour) //nolint:forbidigo // the bubble's clock
		if n := m.count(); n != 2 {
			t.Errorf("%d requests after 21 days", n)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
