package service

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

const shard = "nfsd-0-shared"

func newAuthority(t *testing.T) *pki.Authority {
	t.Helper()
	pair, err := pki.NewAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.LoadAuthority(pair)
	if err != nil {
		t.Fatal(err)
	}
	return ca
}

// writeCertificate replaces the files one after the other, so that a reader can meet a key that does not belong to the certificate.
func writeCertificate(t *testing.T, dir string, ca *pki.Authority, id pki.Identity, lifetime time.Duration, bundle []byte) {
	t.Helper()
	pair, err := ca.Issue(time.Now(), id, lifetime)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range []struct {
		name string
		text []byte
	}{{names.KeyCert, pair.Cert}, {names.KeyKey, pair.Key}, {names.KeyCA, bundle}} {
		if err := os.WriteFile(filepath.Join(dir, file.name), file.text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func certificate(t *testing.T, ca *pki.Authority, id pki.Identity, lifetime time.Duration, bundle []byte) *pki.Source {
	t.Helper()
	dir := t.TempDir()
	writeCertificate(t, dir, ca, id, lifetime, bundle)
	return pki.DirSource(dir)
}

// startServer serves the real service behind its real interceptors; it has no disk, so that a call which is let through answers
// Unavailable, or its status.
func startServer(t *testing.T, s *pki.Source) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.Creds(s.ServerCredentials()), grpc.UnaryInterceptor(AuthorizeUnary), grpc.StreamInterceptor(AuthorizeStream))
	agentv1.RegisterAgentServer(server, New(func(*Core) *agentv1.ServerStatus { return &agentv1.ServerStatus{} }))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

func dial(t *testing.T, address string, creds credentials.TransportCredentials) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// call calls any method with an empty message, streams too.
func call(t *testing.T, conn *grpc.ClientConn, method string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range agentv1.Agent_ServiceDesc.Streams {
		if method == "/"+agentv1.Agent_ServiceDesc.ServiceName+"/"+s.StreamName {
			stream, err := conn.NewStream(ctx, &s, method)
			if err == nil {
				_ = stream.SendMsg(&emptypb.Empty{}) // its error is the stream's, which RecvMsg tells
				err = stream.RecvMsg(&emptypb.Empty{})
			}
			return err
		}
	}
	return conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{})
}

// TestEveryMethodWithEveryCertificate calls each method of the service's descriptor over real TLS. A method that is new is refused to
// all, and fails TestEveryMethodHasItsRoles.
func TestEveryMethodWithEveryCertificate(t *testing.T) {
	ca, foreign := newAuthority(t), newAuthority(t)
	address := startServer(t, certificate(t, ca, pki.Identity{Role: pki.RoleAgent, Name: shard}, time.Hour, ca.Bundle()))
	node := pki.Identity{Role: pki.RoleNode, Name: "node-1"}
	for name, c := range map[string]struct {
		ca       *pki.Authority
		id       pki.Identity
		lifetime time.Duration
		admitted bool
	}{
		"node":                 {ca, node, time.Hour, true},
		"controller":           {ca, pki.Identity{Role: pki.RoleController, Name: "c"}, time.Hour, true},
		"manager":              {ca, pki.Identity{Role: pki.RoleManager, Name: "m"}, time.Hour, true},
		"agent":                {ca, pki.Identity{Role: pki.RoleAgent, Name: "nfsd-1-shared"}, time.Hour, false},
		"no role of ours":      {ca, pki.Identity{Role: "system:masters", Name: "admin"}, time.Hour, true},
		"expired node":         {ca, node, -time.Minute, false},
		"expired manager":      {ca, pki.Identity{Role: pki.RoleManager, Name: "m"}, -time.Minute, false},
		"foreign node":         {foreign, node, time.Hour, false},
		"foreign manager":      {foreign, pki.Identity{Role: pki.RoleManager, Name: "m"}, time.Hour, false},
		"of a former lifetime": {ca, node, -10 * time.Minute, false},
	} {
		conn := dial(t, address, certificate(t, c.ca, c.id, c.lifetime, ca.Bundle()).ClientCredentials(shard))
		for _, method := range methods() {
			got := status.Code(call(t, conn, method))
			want := []codes.Code{codes.PermissionDenied, codes.Unauthenticated}
			switch {
			case !c.admitted:
				want = []codes.Code{codes.Unavailable} // the handshake fails
			case slices.Contains(allowed[method], c.id.Role):
				want = []codes.Code{codes.OK, codes.Unavailable, codes.Unimplemented} // it is let through, and there is no disk
			}
			if !slices.Contains(want, got) {
				t.Errorf("%s calls %s: %v, want %v", name, method, got, want)
			}
			if c.admitted && !slices.Contains(allowed[method], c.id.Role) && got == codes.OK {
				t.Errorf("%s may call %s", name, method)
			}
		}
	}
}

// TestCertificatesRotateUnderLoad replaces certificates, and then the authority, on both sides, while calls go on over connections that
// stay and over new ones. No call may fail.
func TestCertificatesRotateUnderLoad(t *testing.T) {
	old, next := newAuthority(t), newAuthority(t)
	both := append(slices.Clone(old.Bundle()), next.Bundle()...)
	agent, manager := pki.Identity{Role: pki.RoleAgent, Name: shard}, pki.Identity{Role: pki.RoleManager, Name: "m"}
	serverDir, clientDir := t.TempDir(), t.TempDir()
	writeCertificate(t, serverDir, old, agent, time.Hour, old.Bundle())
	writeCertificate(t, clientDir, old, manager, time.Hour, old.Bundle())
	address := startServer(t, pki.DirSource(serverDir))
	source := pki.DirSource(clientDir)

	// Both sides have read their files once before the first rotation; after that they may meet files that do not fit each other.
	if err := call(t, dial(t, address, source.ClientCredentials(shard)), agentv1.Agent_GetStatus_FullMethodName); err != nil {
		t.Fatal(err)
	}
	var calls, connections atomic.Int64
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for i := range 20 {
		workers.Go(func() {
			conn := dial(t, address, source.ClientCredentials(shard))
			for {
				select {
				case <-stop:
					return
				default:
				}
				if err := call(t, conn, agentv1.Agent_GetStatus_FullMethodName); err != nil {
					t.Errorf("call %d: %v", calls.Load(), err)
					return
				}
				calls.Add(1)
				if i%2 == 0 { // half of them connect anew for each call
					_ = conn.Close()
					conn = dial(t, address, source.ClientCredentials(shard))
					connections.Add(1)
				}
			}
		})
	}
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	rotate := func(ca *pki.Authority, bundle []byte) {
		for range 20 {
			writeCertificate(t, serverDir, ca, agent, time.Hour, bundle)
			writeCertificate(t, clientDir, ca, manager, time.Hour, bundle)
			before := connections.Load()
			for range tick.C { // until new ones have seen it
				if connections.Load() >= before+5 || t.Failed() {
					break
				}
			}
		}
	}
	rotate(old, old.Bundle()) // leaves only
	rotate(old, both)         // everybody trusts the new authority
	rotate(next, both)        // and has its certificates
	rotate(next, next.Bundle())
	close(stop)
	workers.Wait()
	t.Logf("%d calls, %d new connections, 160 rotations", calls.Load(), connections.Load())
}
