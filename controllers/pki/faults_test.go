//go:build envtest

package pki

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// forget removes what an authority has made.
func forget(t *testing.T) {
	t.Helper()
	for _, obj := range []client.Object{
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: names.SecretCA}},
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: names.SecretController}},
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: testenv.Namespace, Name: names.ConfigMapCA}},
	} {
		if err := testenv.Client(t).Delete(context.WithoutCancel(t.Context()), obj); client.IgnoreNotFound(err) != nil {
			t.Fatal(err)
		}
	}
}

// TestLifeOfAnAuthorityWhoseCallsFail: whatever call fails while it is made and rotated, there is never a second one beside it,
// and the CSI controller's certificate is one that the bundle trusts.
func TestLifeOfAnAuthorityWhoseCallsFail(t *testing.T) {
	testenv.ClaimDriver(t, testenv.Namespace)
	t.Cleanup(func() { forget(t) }) // which is in the middle of a rotation
	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			forget(t)
			g, plain := NewWithT(t), testenv.Client(t)
			c, counter := testenv.CountingClient(t)
			c = f.Client(c)
			r := &Authority{Client: c, Uncached: c, Claim: install.Claim{Client: c, Namespace: testenv.Namespace}, Namespace: testenv.Namespace}
			secret, bundle, controller := &corev1.Secret{}, &corev1.ConfigMap{}, &corev1.Secret{}
			var allowed [][]byte // authorities that may sign
			check := func(error) {
				t.Helper()
				err := plain.Get(t.Context(), key(names.SecretCA), secret)
				if apierrors.IsNotFound(err) {
					g.Expect(allowed).To(BeEmpty(), "the authority is gone")
					return
				}
				g.Expect(err).NotTo(HaveOccurred())
				_, err = authority.Of(secret)
				g.Expect(err).NotTo(HaveOccurred())
				if allowed == nil {
					allowed = [][]byte{secret.Data[names.KeyCert]}
				}
				g.Expect(allowed).To(ContainElement(secret.Data[names.KeyCert]), "another authority has taken its place")
			}
			suffer := func() {
				t.Helper()
				f.Again()
				f.Settle(t, r, counter, "any", check)
				check(nil)
				g.Expect(plain.Get(t.Context(), key(names.ConfigMapCA), bundle)).To(Succeed())
				g.Expect(plain.Get(t.Context(), key(names.SecretController), controller)).To(Succeed())
				g.Expect(trusted(t, []byte(bundle.Data[names.KeyCA]), controller.Data[names.KeyCert], time.Now())).To(BeTrue())
				g.Expect(string(controller.Data[names.KeyCA])).To(Equal(bundle.Data[names.KeyCA]))
			}
			suffer()
			first := secret.Data[names.KeyCert]
			secret.Annotations = map[string]string{AnnotationRotate: ""}
			g.Expect(plain.Update(t.Context(), secret)).To(Succeed())
			suffer()
			g.Expect(secret.Data[names.KeyCert]).To(Equal(first), "the next one is to be known before it signs")
			g.Expect(bytes.Count([]byte(bundle.Data[names.KeyCA]), []byte("BEGIN CERTIFICATE"))).To(Equal(2))

			next, err := pki.NewAuthority(time.Now().Add(-2 * distribution)) // an hour goes by
			g.Expect(err).NotTo(HaveOccurred())
			secret.Data[authority.KeyNextCert], secret.Data[authority.KeyNextKey] = next.Cert, next.Key
			g.Expect(plain.Update(t.Context(), secret)).To(Succeed())
			allowed = append(allowed, next.Cert)
			suffer()
			g.Expect(secret.Data[names.KeyCert]).To(Equal(next.Cert))
			g.Expect(secret.Data[authority.KeyPreviousCert]).To(Equal(first))
		})
	}
}

// TestSignerWhoseCallsFail: a request is approved once and signed once, or denied once.
func TestSignerWhoseCallsFail(t *testing.T) {
	testenv.ClaimDriver(t, testenv.Namespace)
	ensureAuthority(t)
	const plugin = "system:serviceaccount:" + testenv.Namespace + ":csi-node"
	kinds := map[testenv.FaultKind]string{testenv.Refused: "refused", testenv.Lost: "lost", testenv.Conflict: "conflict"}
	for _, f := range testenv.Faults() {
		t.Run(string(f.Kind), func(t *testing.T) {
			g := NewWithT(t)
			c, counter := testenv.CountingClient(t)
			c = f.Client(c)
			signer := &Signer{Client: c, Claim: install.Claim{Client: c, Namespace: testenv.Namespace}, Namespace: testenv.Namespace}
			for user, want := range map[string]certificatesv1.RequestConditionType{plugin: certificatesv1.CertificateApproved, "mallory": certificatesv1.CertificateDenied} {
				csr := &certificatesv1.CertificateSigningRequest{
					ObjectMeta: metav1.ObjectMeta{Name: "fault-" + kinds[f.Kind] + "-" + strings.ToLower(string(want))},
					Spec: certificatesv1.CertificateSigningRequestSpec{
						Request: request(t, elliptic.P256()), SignerName: names.SignerNode, Usages: nodeUsages,
					},
				}
				g.Expect(as(t, user, map[string][]string{extraNodeName: {"node-1"}}).Create(t.Context(), csr)).To(Succeed())
				f.Again()
				f.Settle(t, signer, counter, csr.Name, func(error) {})
				g.Expect(testenv.Client(t).Get(t.Context(), client.ObjectKeyFromObject(csr), csr)).To(Succeed())
				g.Expect(csr.Status.Conditions).To(HaveLen(1))
				g.Expect(csr.Status.Conditions[0].Type).To(Equal(want))
				if want == certificatesv1.CertificateApproved {
					g.Expect(csr.Status.Conditions[0].Reason).To(Equal(reasonNodeProven))
					expectNode(t, csr, "node-1")
				} else {
					g.Expect(csr.Status.Conditions[0].Reason).To(Equal(reasonNotQualified))
					g.Expect(csr.Status.Certificate).To(BeEmpty())
				}
			}
		})
	}
}

// TestDriftOfCertificatesIsPutBack: edited and deleted by hand; what people write beside it stays.
func TestDriftOfCertificatesIsPutBack(t *testing.T) {
	testenv.ClaimDriver(t, testenv.Namespace)
	ensureAuthority(t)
	g, c := NewWithT(t), testenv.Client(t)
	ca, err := authority.Load(t.Context(), c, testenv.Namespace)
	g.Expect(err).NotTo(HaveOccurred())
	bundle, controller := &corev1.ConfigMap{}, &corev1.Secret{}
	for _, test := range []struct {
		name     string
		key      client.ObjectKey
		obj      client.Object
		edit     func()
		restored func()
	}{
		{
			"bundle", key(names.ConfigMapCA), bundle,
			func() { bundle.Data = map[string]string{names.KeyCA: "nobody", "mine": "stays"} },
			func() { g.Expect(bundle.Data[names.KeyCA]).To(Equal(string(ca.Bundle()))) },
		},
		{
			"certificate", key(names.SecretController), controller,
			func() {
				controller.Data[names.KeyCert], controller.Data[names.KeyCA] = []byte("ended"), []byte("nobody")
			},
			func() {
				g.Expect(controller.Data[names.KeyCA]).To(Equal(ca.Bundle()))
				g.Expect(trusted(t, ca.Bundle(), controller.Data[names.KeyCert], time.Now())).To(BeTrue())
			},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			g.Expect(c.Get(t.Context(), test.key, test.obj)).To(Succeed())
			test.edit()
			test.obj.SetLabels(map[string]string{"example.org/mine": "stays"}) // and ours are gone
			test.obj.SetAnnotations(map[string]string{"example.org/note": "stays"})
			g.Expect(c.Update(t.Context(), test.obj)).To(Succeed())
			expect := func() {
				t.Helper()
				ensureAuthority(t)
				g.Expect(c.Get(t.Context(), test.key, test.obj)).To(Succeed())
				test.restored()
				g.Expect(test.obj.GetLabels()).To(HaveKeyWithValue(names.LabelManagedBy, names.FieldOwner))
			}
			expect()
			g.Expect(test.obj.GetLabels()).To(HaveKeyWithValue("example.org/mine", "stays"))
			g.Expect(test.obj.GetAnnotations()).To(HaveKeyWithValue("example.org/note", "stays"))
			g.Expect(c.Delete(t.Context(), test.obj)).To(Succeed())
			expect()
		})
	}
}
