package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// Source is a certificate, its key and the trusted bundle, read anew from files for every handshake, so that a
// rotation needs no restart and cuts no connection.
type Source struct {
	certFile, keyFile, caFile string

	mu     sync.Mutex
	cert   tls.Certificate
	pool   *x509.CertPool
	loaded [3][]byte
}

// DirSource reads tls.crt, tls.key and ca.crt of one directory: a mounted Secret.
func DirSource(dir string) *Source {
	return FileSource(filepath.Join(dir, names.KeyCert), filepath.Join(dir, names.KeyKey), filepath.Join(dir, names.KeyCA))
}

// FileSource reads the three files wherever they lie.
func FileSource(certFile, keyFile, caFile string) *Source {
	return &Source{certFile: certFile, keyFile: keyFile, caFile: caFile}
}

// load reads the files. While they are being replaced one may not fit the others; then what was read before still holds, so that no
// handshake fails, and the next one looks again.
func (s *Source) load() (*tls.Certificate, *x509.CertPool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.reload(); err != nil && s.pool == nil {
		return nil, nil, err
	}
	cert := s.cert
	return &cert, s.pool, nil
}

func (s *Source) reload() error {
	var texts [3][]byte
	changed := s.pool == nil
	for i, file := range []string{s.certFile, s.keyFile, s.caFile} {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		texts[i] = text
		changed = changed || !bytes.Equal(text, s.loaded[i])
	}
	if !changed {
		return nil
	}
	cert, err := tls.X509KeyPair(texts[0], texts[1])
	if err != nil {
		return fmt.Errorf("load %s and %s: %w", s.certFile, s.keyFile, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(texts[2]) {
		return fmt.Errorf("%s holds no certificate", s.caFile)
	}
	s.cert, s.pool, s.loaded = cert, pool, texts
	return nil
}

// ServerCredentials admits only peers with a certificate of the bundle.
func (s *Source) ServerCredentials() credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			cert, pool, err := s.load()
			if err != nil {
				return nil, err
			}
			return &tls.Config{
				MinVersion:   tls.VersionTLS13,
				Certificates: []tls.Certificate{*cert},
				ClientAuth:   tls.RequireAndVerifyClientCert,
				ClientCAs:    pool,
				NextProtos:   []string{"h2"},
			}, nil
		},
	})
}

// ClientCredentials connects only to the agent of the named shard, whatever address it was dialled at.
func (s *Source) ClientCredentials(shard string) credentials.TransportCredentials {
	return credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: shard,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, _, err := s.load()
			return cert, err
		},
		// The bundle may rotate, and tls.Config.RootCAs cannot: VerifyConnection does the whole verification.
		InsecureSkipVerify: true, //nolint:gosec // verified below
		VerifyConnection: func(state tls.ConnectionState) error {
			_, pool, err := s.load()
			if err != nil {
				return err
			}
			return verifyAgent(state, pool, shard)
		},
	})
}

func verifyAgent(state tls.ConnectionState, pool *x509.CertPool, shard string) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("agent sent no certificate")
	}
	leaf := state.PeerCertificates[0]
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: pool, DNSName: shard, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}); err != nil {
		return err
	}
	id, err := IdentityOf(leaf)
	if err != nil {
		return err
	}
	if id.Role != RoleAgent {
		return fmt.Errorf("peer is %s, not an agent", id.Role)
	}
	return nil
}

// Peer is the identity of the caller of a gRPC method.
func Peer(ctx context.Context) (Identity, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Identity{}, ErrNoIdentity
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok || len(info.State.VerifiedChains) == 0 {
		return Identity{}, ErrNoIdentity
	}
	return IdentityOf(info.State.VerifiedChains[0][0])
}
