// Package tls builds the Secrets and the ConfigMap of the parts' certificates.
package tls

import (
	corev1 "k8s.io/api/core/v1"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// Secret holds the certificate and key of one part, and the bundle that it trusts.
func Secret(name, namespace string, labels map[string]string, pair pki.Pair, bundle []byte) *corev1ac.SecretApplyConfiguration {
	return corev1ac.Secret(name, namespace).
		WithLabels(labels).
		WithType(corev1.SecretTypeTLS).
		WithData(map[string][]byte{names.KeyCert: pair.Cert, names.KeyKey: pair.Key, names.KeyCA: bundle})
}

// Bundle is the ConfigMap with the authorities that all parts trust.
func Bundle(namespace string, bundle []byte) *corev1ac.ConfigMapApplyConfiguration {
	return corev1ac.ConfigMap(names.ConfigMapCA, namespace).
		WithLabels(map[string]string{names.LabelManagedBy: names.FieldOwner}).
		WithData(map[string]string{names.KeyCA: string(bundle)})
}
