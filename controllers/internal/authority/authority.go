// Package authority reads the certificate authority from its Secret.
package authority

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// ErrNotYet is returned before the manager has made the authority, shortly after its first start.
var ErrNotYet = errors.New("the certificate authority does not exist yet")

// Load reads the authority of the installation in namespace.
func Load(ctx context.Context, reader client.Reader, namespace string) (*pki.Authority, error) {
	secret := &corev1.Secret{}
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: names.SecretCA}, secret)
	if apierrors.IsNotFound(err) {
		return nil, ErrNotYet
	}
	if err != nil {
		return nil, fmt.Errorf("get Secret %s: %w", names.SecretCA, err)
	}
	return Of(secret)
}

// Keys of the Secret while the authority is being replaced (package controllers/pki).
const (
	// KeyNextCert and KeyNextKey are the authority that will sign: peers learn to trust it first.
	KeyNextCert = "next.crt"
	KeyNextKey  = "next.key"
	// KeyPreviousCert is the one that signed before: peers trust it until the last certificate of it has ended.
	KeyPreviousCert = "previous.crt"
)

// Of reads the authority from its Secret, with all that peers must trust in its bundle.
func Of(secret *corev1.Secret) (*pki.Authority, error) {
	ca, err := pki.LoadAuthority(PairOf(secret))
	if err != nil {
		return nil, fmt.Errorf("load authority from Secret %s: %w", names.SecretCA, err)
	}
	return ca.Trusting(secret.Data[KeyNextCert], secret.Data[KeyPreviousCert]), nil
}

// NextOf is the authority that will sign, empty when none is being brought in.
func NextOf(secret *corev1.Secret) pki.Pair {
	return pki.Pair{Cert: secret.Data[KeyNextCert], Key: secret.Data[KeyNextKey]}
}

// PairOf is the certificate and key in a Secret.
func PairOf(secret *corev1.Secret) pki.Pair {
	return pki.Pair{Cert: secret.Data[names.KeyCert], Key: secret.Data[names.KeyKey]}
}
