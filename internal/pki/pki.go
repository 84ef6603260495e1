// Package pki is the small public-key infrastructure between the parts of nfs-operator: one certificate authority,
// kept by the manager, and leaves whose subject says what a peer is. The role is the subject's only organization, the
// name its common name; authorization rests on these two and on nothing that a peer says of itself.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Role is what a certificate entitles its bearer to be.
type Role string

const (
	// RoleAgent is the agent of one shard; Name is the shard's name, which is also its DNS name.
	RoleAgent Role = "nfs-operator:agent"
	// RoleController is the CSI controller.
	RoleController Role = "nfs-operator:csi-controller"
	// RoleNode is the CSI node plugin of one node; Name is the Node's name.
	RoleNode Role = "nfs-operator:csi-node"
	// RoleManager is the manager.
	RoleManager Role = "nfs-operator:manager"
)

// Identity is who a certificate says its bearer is.
type Identity struct {
	Role Role
	Name string
}

const (
	authorityLifetime = 10 * 365 * 24 * time.Hour
	// LeafLifetime is how long certificates in Secrets are valid; they are renewed at two thirds of it.
	LeafLifetime = 90 * 24 * time.Hour
	// NodeLifetime is the same for certificates that node plugins ask for.
	NodeLifetime = 30 * 24 * time.Hour
	// A clock that is an hour slow must not refuse a new certificate.
	backdate = time.Hour
)

// ErrNoIdentity is returned for a certificate that is not one of ours.
var ErrNoIdentity = errors.New("certificate carries no nfs-operator identity")

// Pair is a certificate and its key, PEM encoded, as they lie in a Secret.
type Pair struct {
	Cert []byte
	Key  []byte
}

// Authority signs certificates.
type Authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	pem  []byte
}

// NewAuthority makes a certificate authority. The pair is what LoadAuthority takes.
func NewAuthority(now time.Time) (Pair, error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	serial, err := newSerial()
	if err != nil {
		return Pair{}, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "nfs-operator"},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return Pair{}, fmt.Errorf("create authority: %w", err)
	}
	return Pair{Cert: encode("CERTIFICATE", der), Key: keyPEM}, nil
}

// LoadAuthority reads what NewAuthority made.
func LoadAuthority(p Pair) (*Authority, error) {
	cert, err := ParseCertificate(p.Cert)
	if err != nil {
		return nil, err
	}
	if !cert.IsCA {
		return nil, errors.New("certificate is not an authority")
	}
	block, _ := pem.Decode(p.Key)
	if block == nil {
		return nil, errors.New("authority key is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parse authority key: %w", err)
	}
	signer, ok := key.(*ecdsa.PrivateKey)
	if !ok || !signer.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("authority key does not belong to its certificate")
	}
	return &Authority{cert: cert, key: signer, pem: p.Cert}, nil
}

// Bundle is the PEM text that peers trust.
func (a *Authority) Bundle() []byte { return a.pem }

// Issue makes a key and a certificate for it.
func (a *Authority) Issue(now time.Time, id Identity, lifetime time.Duration) (Pair, error) {
	key, keyPEM, err := NewKey()
	if err != nil {
		return Pair{}, err
	}
	cert, err := a.Sign(now, key.Public(), id, lifetime)
	if err != nil {
		return Pair{}, err
	}
	return Pair{Cert: cert, Key: keyPEM}, nil
}

// Sign makes a certificate for a key that stays where it was made. Nothing of a request but the key may reach it.
func (a *Authority) Sign(now time.Time, key crypto.PublicKey, id Identity, lifetime time.Duration) ([]byte, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{string(id.Role)}, CommonName: id.Name},
		NotBefore:    now.Add(-backdate),
		NotAfter:     now.Add(lifetime),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if id.Role == RoleAgent {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.DNSNames = []string{id.Name}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate of %s %q: %w", id.Role, id.Name, err)
	}
	return encode("CERTIFICATE", der), nil
}

// NeedsRenewal reports whether two thirds of a certificate's life are over, or whether it is not this authority's or
// not for this identity.
func (a *Authority) NeedsRenewal(now time.Time, certPEM []byte, id Identity) bool {
	cert, err := ParseCertificate(certPEM)
	if err != nil || cert.CheckSignatureFrom(a.cert) != nil {
		return true
	}
	got, err := IdentityOf(cert)
	return err != nil || got != id || !now.Before(RenewalTime(cert))
}

// RenewalTime is when two thirds of the certificate's life are over.
func RenewalTime(cert *x509.Certificate) time.Time {
	return cert.NotBefore.Add(cert.NotAfter.Sub(cert.NotBefore) / 3 * 2)
}

// IdentityOf reads the identity of a verified certificate.
func IdentityOf(cert *x509.Certificate) (Identity, error) {
	if len(cert.Subject.Organization) != 1 || cert.Subject.CommonName == "" {
		return Identity{}, ErrNoIdentity
	}
	id := Identity{Role: Role(cert.Subject.Organization[0]), Name: cert.Subject.CommonName}
	switch id.Role {
	case RoleAgent, RoleController, RoleNode, RoleManager:
		return id, nil
	default:
		return Identity{}, ErrNoIdentity
	}
}

// NewKey makes a key (ECDSA, P-256) and its PKCS #8 PEM text.
func NewKey() (crypto.Signer, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("marshal key: %w", err)
	}
	return key, encode("PRIVATE KEY", der), nil
}

// ParseCertificate reads the first certificate of a PEM text.
func ParseCertificate(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("no PEM certificate")
	}
	return x509.ParseCertificate(block.Bytes)
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return serial, nil
}

func encode(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}
