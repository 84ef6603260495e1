package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"

	certificatesv1 "k8s.io/api/certificates/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// extraNodeName is set by the API server from the token that a request was made with: the node that the pod is bound to.
// (k8s.io/apiserver, pkg/authentication/serviceaccount: NodeNameKey)
const extraNodeName = "authentication.kubernetes.io/node-name"

// qualify tells which node a request proves, and for which key. It believes the fields that the API server sets, and of
// the request itself only that its maker holds the key.
func qualify(csr *certificatesv1.CertificateSigningRequest, namespace string) (string, crypto.PublicKey, error) {
	want := fmt.Sprintf("system:serviceaccount:%s:%s", namespace, names.ComponentNode)
	if csr.Spec.Username != want {
		return "", nil, fmt.Errorf("requested by %q, not by %q", csr.Spec.Username, want)
	}
	nodes := csr.Spec.Extra[extraNodeName]
	if len(nodes) != 1 || nodes[0] == "" {
		return "", nil, errors.New("the requester's token is not bound to a pod on a node")
	}
	if err := checkUsages(csr.Spec.Usages); err != nil {
		return "", nil, err
	}
	key, err := publicKey(csr.Spec.Request)
	return nodes[0], key, err
}

func checkUsages(usages []certificatesv1.KeyUsage) error {
	for _, usage := range usages {
		if usage != certificatesv1.UsageClientAuth && usage != certificatesv1.UsageDigitalSignature {
			return fmt.Errorf("asks for usage %q: only %q and %q are given", usage,
				certificatesv1.UsageClientAuth, certificatesv1.UsageDigitalSignature)
		}
	}
	return nil
}

func publicKey(text []byte) (crypto.PublicKey, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(rest) != 0 {
		return nil, errors.New("the request is not one PEM block")
	}
	request, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse request: %w", err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("the requester does not hold the key: %w", err)
	}
	key, ok := request.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() {
		return nil, errors.New("the key is not ECDSA P-256")
	}
	return key, nil
}
