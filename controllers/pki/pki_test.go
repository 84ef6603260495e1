//go:build envtest

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: testenv.Namespace, Name: name}
}

// ensureAuthority brings the authority's objects to rest.
func ensureAuthority(t *testing.T) *testenv.Counter {
	t.Helper()
	c, counter := testenv.CountingClient(t)
	r := &Authority{
		Client: c, Uncached: c, Claim: install.Claim{Client: c, Namespace: testenv.Namespace}, Namespace: testenv.Namespace,
	}
	if _, err := testenv.Settle(t, r, counter, "any"); err != nil {
		t.Fatal(err)
	}
	return counter
}

func TestAuthorityIsMadeOnce(t *testing.T) {
	g := NewWithT(t)
	testenv.ClaimDriver(t, testenv.Namespace)
	c := testenv.Client(t)
	ensureAuthority(t)
	secret, bundle, controller := &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Secret{}
	g.Expect(c.Get(t.Context(), key(names.SecretCA), secret)).To(Succeed())
	ensureAuthority(t)
	again := &corev1.Secret{}
	g.Expect(c.Get(t.Context(), key(names.SecretCA), again)).To(Succeed())
	g.Expect(again.ResourceVersion).To(Equal(secret.ResourceVersion))

	g.Expect(c.Get(t.Context(), key(names.ConfigMapCA), bundle)).To(Succeed())
	g.Expect(bundle.Data[names.KeyCA]).To(Equal(string(secret.Data[names.KeyCert])))
	g.Expect(bundle.Data[names.KeyCA]).NotTo(ContainSubstring("PRIVATE KEY"))
	g.Expect(c.Get(t.Context(), key(names.SecretController), controller)).To(Succeed())
	cert, err := pki.ParseCertificate(controller.Data[names.KeyCert])
	g.Expect(err).NotTo(HaveOccurred())
	id, err := pki.IdentityOf(cert)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(id.Role).To(Equal(pki.RoleController))
}

func TestCertificateOfAnotherAuthorityIsReplaced(t *testing.T) {
	g := NewWithT(t)
	testenv.ClaimDriver(t, testenv.Namespace)
	c := testenv.Client(t)
	ensureAuthority(t)
	before, after := &corev1.Secret{}, &corev1.Secret{}
	g.Expect(c.Get(t.Context(), key(names.SecretController), before)).To(Succeed())
	g.Expect(c.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: names.SecretCA, Namespace: testenv.Namespace}})).To(Succeed())
	ensureAuthority(t)
	g.Expect(c.Get(t.Context(), key(names.SecretController), after)).To(Succeed())
	g.Expect(after.Data[names.KeyCert]).NotTo(Equal(before.Data[names.KeyCert]))
	ca, err := authority.Load(t.Context(), c, testenv.Namespace)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(after.Data[names.KeyCA]).To(Equal(ca.Bundle()))
}

// request is what a node plugin would send; the subject is a lie, and must not matter.
func request(t *testing.T, curve elliptic.Curve) []byte {
	t.Helper()
	private, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:  pkix.Name{Organization: []string{string(pki.RoleController)}, CommonName: "somebody-else"},
		DNSNames: []string{"nfsd-0-shared"},
	}, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
}

// as is a client of the given user; the API server stamps user and extra into what it creates.
func as(t *testing.T, username string, extra map[string][]string) client.Client {
	t.Helper()
	config := testenv.Config()
	config.Impersonate = rest.ImpersonationConfig{UserName: username, Groups: []string{"system:masters"}, Extra: extra}
	c, err := client.New(config, client.Options{Scheme: testenv.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var nodeUsages = []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageClientAuth}

func TestSigner(t *testing.T) {
	testenv.ClaimDriver(t, testenv.Namespace)
	ensureAuthority(t)
	const plugin = "system:serviceaccount:" + testenv.Namespace + ":csi-node"
	onNode := func(nodes ...string) map[string][]string { return map[string][]string{extraNodeName: nodes} }
	for name, test := range map[string]struct {
		user    string
		extra   map[string][]string
		curve   elliptic.Curve
		usages  []certificatesv1.KeyUsage
		refusal string // empty: signed for node-1
	}{
		"the plugin on its node":  {user: plugin, extra: onNode("node-1")},
		"another service account": {user: "system:serviceaccount:" + testenv.Namespace + ":csi-controller", extra: onNode("node-1"), refusal: "not by"},
		"another namespace":       {user: "system:serviceaccount:default:csi-node", extra: onNode("node-1"), refusal: "not by"},
		"a person":                {user: "admin", refusal: "not by"},
		"a token without a node":  {user: plugin, refusal: "not bound to a pod"},
		"a token with two nodes":  {user: plugin, extra: onNode("node-1", "node-2"), refusal: "not bound to a pod"},
		"a server's certificate":  {user: plugin, extra: onNode("node-1"), usages: []certificatesv1.KeyUsage{certificatesv1.UsageServerAuth}, refusal: "usage"},
		"a key that is not P-256": {user: plugin, extra: onNode("node-1"), curve: elliptic.P384(), refusal: "P-256"},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			if test.curve == nil {
				test.curve = elliptic.P256()
			}
			if test.usages == nil {
				test.usages = nodeUsages
			}
			csr := &certificatesv1.CertificateSigningRequest{
				ObjectMeta: metav1.ObjectMeta{Name: strings.ReplaceAll(strings.ToLower(name), " ", "-")},
				Spec: certificatesv1.CertificateSigningRequestSpec{
					Request: request(t, test.curve), SignerName: names.SignerNode, Usages: test.usages,
					// A requester may write this; the API server overwrites it.
					Username: plugin, Extra: map[string]certificatesv1.ExtraValue{extraNodeName: {"node-9"}},
				},
			}
			g.Expect(as(t, test.user, test.extra).Create(t.Context(), csr)).To(Succeed())
			answer(t, csr)
			if test.refusal != "" {
				g.Expect(csr.Status.Certificate).To(BeEmpty())
				g.Expect(has(csr, certificatesv1.CertificateDenied)).To(BeTrue())
				g.Expect(csr.Status.Conditions[0].Reason).To(Equal(reasonNotQualified))
				g.Expect(csr.Status.Conditions[0].Message).To(ContainSubstring(test.refusal))
				return
			}
			expectNode(t, csr, "node-1")
		})
	}
}

// answer runs the signer, twice: the second pass must find nothing to do.
func answer(t *testing.T, csr *certificatesv1.CertificateSigningRequest) {
	t.Helper()
	g := NewWithT(t)
	c, counter := testenv.CountingClient(t)
	signer := &Signer{Client: c, Claim: install.Claim{Client: c, Namespace: testenv.Namespace}, Namespace: testenv.Namespace}
	_, err := signer.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(csr)})
	g.Expect(err).NotTo(HaveOccurred())
	counter.Writes()
	_, err = signer.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(csr)})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(counter.Writes()).To(BeZero())
	g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(csr), csr)).To(Succeed())
}

func expectNode(t *testing.T, csr *certificatesv1.CertificateSigningRequest, node string) {
	t.Helper()
	g := NewWithT(t)
	g.Expect(csr.Status.Certificate).NotTo(BeEmpty())
	cert, err := pki.ParseCertificate(csr.Status.Certificate)
	g.Expect(err).NotTo(HaveOccurred())
	id, err := pki.IdentityOf(cert)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(id).To(Equal(pki.Identity{Role: pki.RoleNode, Name: node}))
	g.Expect(cert.DNSNames).To(BeEmpty())
	g.Expect(cert.ExtKeyUsage).To(Equal([]x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}))
}

func TestApprovedByHandIsStillNotSigned(t *testing.T) {
	g := NewWithT(t)
	testenv.ClaimDriver(t, testenv.Namespace)
	ensureAuthority(t)
	c := testenv.Client(t)
	csr := &certificatesv1.CertificateSigningRequest{
		ObjectMeta: metav1.ObjectMeta{Name: "approved-by-hand"},
		Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: request(t, elliptic.P256()), SignerName: names.SignerNode, Usages: nodeUsages,
		},
	}
	g.Expect(as(t, "mallory", nil).Create(t.Context(), csr)).To(Succeed())
	addCondition(csr, certificatesv1.CertificateApproved, "ByHand", "looks fine")
	g.Expect(c.SubResource("approval").Update(t.Context(), csr)).To(Succeed())
	answer(t, csr)
	g.Expect(csr.Status.Certificate).To(BeEmpty())
	g.Expect(has(csr, certificatesv1.CertificateFailed)).To(BeTrue())
}
