// Package agents asks the agents of NFS servers how they are, over mutual TLS in the role of the manager.
package agents

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/authority"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// timeout bounds one question. An agent that does not answer in this time counts as one that cannot be asked.
const timeout = 5 * time.Second

// Client asks agents. Its own certificate lives in memory only: it is made at need from the authority.
type Client struct {
	Reader    client.Reader
	Namespace string

	mu   sync.Mutex
	cert []byte
	pair tls.Certificate
}

// Status asks the agent of the named shard at host (an address of its pod).
func (c *Client) Status(ctx context.Context, shard, host string) (status *agentv1.ServerStatus, err error) {
	err = c.call(ctx, shard, host, func(ctx context.Context, agent agentv1.AgentClient) (err error) {
		status, err = agent.GetStatus(ctx, &agentv1.GetStatusRequest{})
		return err
	})
	return status, err
}

// SetNodeGone tells the agent of the named shard at host that a node is gone, or back.
func (c *Client) SetNodeGone(ctx context.Context, shard, host string, node *agentv1.SetNodeGoneRequest) error {
	return c.call(ctx, shard, host, func(ctx context.Context, agent agentv1.AgentClient) error {
		_, err := agent.SetNodeGone(ctx, node)
		return err
	})
}

func (c *Client) call(ctx context.Context, shard, host string, ask func(context.Context, agentv1.AgentClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	config, err := c.tlsConfig(ctx, shard)
	if err != nil {
		return err
	}
	target := "passthrough:///" + net.JoinHostPort(host, strconv.Itoa(names.PortAgent))
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(credentials.NewTLS(config)))
	if err != nil {
		return fmt.Errorf("connect to agent of %s: %w", shard, err)
	}
	defer func() { _ = conn.Close() }()
	if err := ask(ctx, agentv1.NewAgentClient(conn)); err != nil {
		return fmt.Errorf("ask agent of %s: %w", shard, err)
	}
	return nil
}

func (c *Client) tlsConfig(ctx context.Context, shard string) (*tls.Config, error) {
	ca, err := authority.Load(ctx, c.Reader, c.Namespace)
	if err != nil {
		return nil, err
	}
	pair, err := c.certificate(ca)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca.Bundle())
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		ServerName:   shard,
		RootCAs:      pool,
		Certificates: []tls.Certificate{pair},
		VerifyConnection: func(state tls.ConnectionState) error {
			id, err := pki.IdentityOf(state.PeerCertificates[0])
			if err == nil && id.Role != pki.RoleAgent {
				err = errors.New("peer is not an agent")
			}
			return err
		},
	}, nil
}

func (c *Client) certificate(ca *pki.Authority) (tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := pki.Identity{Role: pki.RoleManager, Name: "manager"}
	if !ca.NeedsRenewal(time.Now(), c.cert, id) {
		return c.pair, nil
	}
	issued, err := ca.Issue(time.Now(), id, pki.LeafLifetime)
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(issued.Cert, issued.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("load own certificate: %w", err)
	}
	c.cert, c.pair = issued.Cert, pair
	return pair, nil
}
