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
	ca, err := pki.LoadAuthority(PairOf(secret))
	if err != nil {
		return nil, fmt.Errorf("load authority from Secret %s: %w", names.SecretCA, err)
	}
	return ca, nil
}

// PairOf is the certificate and key in a Secret.
func PairOf(secret *corev1.Secret) pki.Pair {
	return pki.Pair{Cert: secret.Data[names.KeyCert], Key: secret.Data[names.KeyKey]}
}
