package pki

import (
	"crypto/x509"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// trusted tells whether a peer with this bundle accepts a leaf.
func trusted(t *testing.T, bundle, leaf []byte, now time.Time) bool {
	t.Helper()
	cert, err := pki.ParseCertificate(leaf)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(bundle)
	_, err = cert.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// A rotation over half a year, looked at every hour: a leaf lives on while it is valid, and each bundle that a peer may
// still have, an hour old, trusts each leaf that is about.
func TestRotationNeverPartsTwoPeers(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, err := pki.NewAuthority(start)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: names.SecretCA},
		Data:       map[string][]byte{names.KeyCert: first.Cert, names.KeyKey: first.Key},
	}
	id := pki.Identity{Role: pki.RoleController, Name: "csi-controller"}
	var leaf, staleBundle []byte
	var renewals int
	bundles := map[string]bool{}
	for now := start; now.Before(start.Add(180 * 24 * time.Hour)); now = now.Add(time.Hour) {
		if now.Equal(start.Add(24 * time.Hour)) {
			secret.Annotations = map[string]string{AnnotationRotate: ""}
		}
		if err := rotateSecret(secret, now); err != nil {
			t.Fatal(err)
		}
		ca, err := authority.Of(secret)
		if err != nil {
			t.Fatal(err)
		}
		old := leaf
		if ca.NeedsRenewal(now, leaf, id) {
			pair, err := ca.Issue(now, id, pki.LeafLifetime)
			if err != nil {
				t.Fatal(err)
			}
			leaf = pair.Cert
			renewals++
		}
		if staleBundle == nil {
			staleBundle = ca.Bundle()
		}
		if !trusted(t, staleBundle, leaf, now) {
			t.Fatalf("%s: a peer with the bundle of an hour ago refuses the new leaf", now)
		}
		if old != nil && !trusted(t, ca.Bundle(), old, now) {
			t.Fatalf("%s: a peer with the new bundle refuses the leaf of an hour ago", now)
		}
		staleBundle = ca.Bundle()
		bundles[string(staleBundle)] = true
	}
	if len(bundles) != 4 || renewals < 3 {
		t.Errorf("%d bundles (old; old and new; new and old; new) and %d renewals", len(bundles), renewals)
	}
	if string(secret.Data[names.KeyCert]) == string(first.Cert) || len(secret.Data) != 2 || len(secret.Annotations) != 0 {
		t.Error("the rotation has not ended")
	}
}

func TestAuthorityIsRotatedInTime(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	first, err := pki.NewAuthority(start)
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{Data: map[string][]byte{names.KeyCert: first.Cert, names.KeyKey: first.Key}}
	for years, want := range map[int]bool{6: false, 7: true} {
		if err := rotateSecret(secret, start.AddDate(years, 0, 0)); err != nil {
			t.Fatal(err)
		}
		if got := len(secret.Data[authority.KeyNextCert]) > 0; got != want {
			t.Errorf("after %d years: rotated %v", years, got)
		}
		delete(secret.Data, authority.KeyNextCert)
		delete(secret.Data, authority.KeyNextKey)
	}
}
