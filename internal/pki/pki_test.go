package pki

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	pair, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// writeDir lays out a directory as a mounted Secret would be.
func writeDir(t *testing.T, dir string, pair Pair, bundle []byte) {
	t.Helper()
	for name, text := range map[string][]byte{"tls.crt": pair.Cert, "tls.key": pair.Key, "ca.crt": bundle} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func source(t *testing.T, ca *Authority, id Identity, lifetime time.Duration) *Source {
	t.Helper()
	pair, err := ca.Issue(time.Now(), id, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeDir(t, dir, pair, ca.Bundle())
	return DirSource(dir)
}

// whoami is a health server that answers with the caller's identity in the error's message.
type whoami struct {
	healthpb.UnimplementedHealthServer
}

func (whoami) Check(ctx context.Context, _ *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	id, err := Peer(ctx)
	if err != nil {
		return nil, err
	}
	return nil, status.Error(codes.Aborted, string(id.Role)+"/"+id.Name)
}

func serve(t *testing.T, s *Source) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(s.ServerCredentials()))
	healthpb.RegisterHealthServer(server, whoami{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func ask(t *testing.T, address string, option grpc.DialOption) (codes.Code, string) {
	t.Helper()
	connection, err := grpc.NewClient(address, option)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = connection.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	_, err = healthpb.NewHealthClient(connection).Check(ctx, &healthpb.HealthCheckRequest{})
	return status.Code(err), status.Convert(err).Message()
}

func TestMutualTLS(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	agent := Identity{Role: RoleAgent, Name: "nfsd-0-shared"}
	node := Identity{Role: RoleNode, Name: "node-1"}
	address := serve(t, source(t, ca, agent, time.Hour))
	creds := func(s *Source) grpc.DialOption {
		return grpc.WithTransportCredentials(s.ClientCredentials(agent.Name))
	}
	if code, who := ask(t, address, creds(source(t, ca, node, time.Hour))); code != codes.Aborted || who != "nfs-operator:csi-node/node-1" {
		t.Errorf("a node's call: %s %q", code, who)
	}
	impostor := serve(t, source(t, ca, node, time.Hour))
	other := serve(t, source(t, ca, Identity{Role: RoleAgent, Name: "nfsd-1-shared"}, time.Hour))
	for name, test := range map[string]struct {
		address string
		option  grpc.DialOption
	}{
		"a client without a certificate":         {address, grpc.WithTransportCredentials(insecure.NewCredentials())},
		"a client of another authority":          {address, creds(source(t, foreign, node, time.Hour))},
		"an expired client":                      {address, creds(source(t, ca, node, -time.Minute))},
		"an agent's certificate used as client":  {address, creds(source(t, ca, agent, time.Hour))},
		"a server with a node's certificate":     {impostor, creds(source(t, ca, node, time.Hour))},
		"a server that is another shard's agent": {other, creds(source(t, ca, node, time.Hour))},
	} {
		if code, message := ask(t, test.address, test.option); code != codes.Unavailable {
			t.Errorf("%s: %s %q, want Unavailable", name, code, message)
		}
	}
}

func TestSourceReloads(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	agent := Identity{Role: RoleAgent, Name: "nfsd-0-shared"}
	dir := t.TempDir()
	pair, err := old.Issue(time.Now(), agent, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	writeDir(t, dir, pair, old.Bundle())
	address := serve(t, DirSource(dir))
	client := source(t, next, Identity{Role: RoleNode, Name: "node-1"}, time.Hour)
	option := grpc.WithTransportCredentials(client.ClientCredentials(agent.Name))
	if code, _ := ask(t, address, option); code != codes.Unavailable {
		t.Fatalf("before the rotation: %s, want Unavailable", code)
	}
	if pair, err = next.Issue(time.Now(), agent, time.Hour); err != nil {
		t.Fatal(err)
	}
	writeDir(t, dir, pair, append(old.Bundle(), next.Bundle()...))
	if code, message := ask(t, address, option); code != codes.Aborted {
		t.Errorf("after the rotation: %s %q, want an answer", code, message)
	}
}

func TestNeedsRenewal(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	id := Identity{Role: RoleController, Name: "csi-controller"}
	now := time.Now()
	pair, err := ca.Issue(now, id, LeafLifetime)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		ca   *Authority
		at   time.Time
		cert []byte
		id   Identity
		want bool
	}{
		"new":               {ca, now, pair.Cert, id, false},
		"at half its life":  {ca, now.Add(LeafLifetime / 2), pair.Cert, id, false},
		"after two thirds":  {ca, now.Add(LeafLifetime * 3 / 4), pair.Cert, id, true},
		"another authority": {foreign, now, pair.Cert, id, true},
		"another identity":  {ca, now, pair.Cert, Identity{Role: RoleController, Name: "x"}, true},
		"no certificate":    {ca, now, nil, id, true},
	} {
		if got := test.ca.NeedsRenewal(test.at, test.cert, test.id); got != test.want {
			t.Errorf("%s: NeedsRenewal = %t", name, got)
		}
	}
}

func TestIdentityOfForeignSubjects(t *testing.T) {
	ca := newAuthority(t)
	for _, id := range []Identity{{Role: "system:masters", Name: "node-1"}, {Role: RoleNode}} {
		pair, err := ca.Issue(time.Now(), id, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		cert, err := ParseCertificate(pair.Cert)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := IdentityOf(cert); err == nil {
			t.Errorf("%+v was taken for %+v", id, got)
		}
	}
}

func TestLoadAuthorityRefusesWhatIsNone(t *testing.T) {
	ca := newAuthority(t)
	leaf, err := ca.Issue(time.Now(), Identity{Role: RoleNode, Name: "n"}, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	one, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, pair := range map[string]Pair{
		"a leaf":               leaf,
		"nothing":              {},
		"another's key":        {Cert: one.Cert, Key: two.Key},
		"a certificate as key": {Cert: one.Cert, Key: one.Cert},
	} {
		if _, err := LoadAuthority(pair); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestAuthorityCannotSignAuthorities(t *testing.T) {
	ca := newAuthority(t)
	if !ca.cert.MaxPathLenZero || ca.cert.KeyUsage&x509.KeyUsageCertSign == 0 {
		t.Error("the authority must sign leaves and nothing else")
	}
}
