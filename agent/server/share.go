package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/service"
	"github.com/nfs-operator/nfs-operator/agent/share"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// LostShare is the error of a share that was in use and is lost: BeginAnew.
type LostShare struct {
	// ServerID is the identity of the share. Another share, or an empty one, must not take its place.
	ServerID string
	Err      error
}

func (e LostShare) Error() string { return fmt.Sprintf("the share is lost: %v", e.Err) }

func (e LostShare) Unwrap() error { return e.Err }

// runShare works on the share of an external server until the context ends, or the share is lost.
func (s *Server) runShare(ctx context.Context, calls *grpc.Server) error {
	place := s.place()
	for {
		sh, owner, err := share.Open(ctx, place)
		s.setOwner(owner)
		if err == nil {
			// The configuration is that of the start, when nobody may have known it: what was served once is not begun anew.
			place.Config.ServerID = sh.Store.Server().ServerID
			err = s.serveShare(ctx, sh)
		}
		switch {
		case errors.As(err, new(LostShare)):
			calls.Stop() // which waits for none of them
			return err
		case ctx.Err() != nil:
			stopCalls(calls)
			return err
		}
		c := condition{agentv1.ReasonShareFailed, err.Error()}
		if known := (share.Error{}); errors.As(err, &known) {
			c.reason = known.Reason
		}
		s.report(c)
		sleep(ctx, retryDisk)
	}
}

func (s *Server) place() share.Place {
	holder := s.Config.External.Owner
	if host, err := os.Hostname(); err == nil {
		holder += " in pod " + host
	}
	holder += " since " + time.Now().UTC().Format(time.RFC3339)
	return share.Place{
		Config: *s.Config.External, Dir: s.Config.DataDir, Mounter: mount.NewLinux(), Resolver: net.DefaultResolver, Holder: holder,
	}
}

// serveShare answers calls until the context ends, and closes the share then. A share that is lost is a LostShare; it stays as it is.
func (s *Server) serveShare(ctx context.Context, sh *share.Share) error {
	workerContext, cancel := context.WithCancel(ctx)
	defer cancel()
	book := access.New(sh.Store, access.Patience, time.Now, s.Log)
	book.Unfenced()
	e := engine.New(engine.Options{
		Store: sh.Store, Filesystem: sh, Access: book, Exports: foreignExports{},
		Missing: engine.Missing{Quota: true, Squash: true, Reflink: !sh.Reflink}, Now: time.Now, Log: s.Log,
	})
	if err := e.Repair(); err != nil {
		return errors.Join(share.Error{Reason: agentv1.ReasonRepairFailed, Err: err}, sh.Close())
	}
	s.mu.Lock()
	s.share, s.engine = sh, e
	s.facts = readFacts(sh.Store.Server())
	s.facts.version, s.facts.capabilities = sh.Version, &agentv1.Capabilities{
		Reflink: sh.Reflink, Xattrs: sh.Xattrs, Durable: true, StableHandles: true, // what the server promises
	}
	s.mu.Unlock()
	c := s.Config.External
	ended := make(chan struct{})
	s.service.Start(&service.Core{
		Engine: e, Access: book, Ended: ended,
		Share: &service.Share{Server: c.Server, Path: path.Join(c.Path, sh.Store.VolumesName()), Options: sh.NodeOptions()},
	})
	s.Log.Info("Serving volumes of an external server's share", "server", c.Server, "path", c.Path, "version", sh.Version, "reflink", sh.Reflink)
	var workers sync.WaitGroup
	workers.Go(func() { e.Run(workerContext) })
	err := sh.Watch(ctx)
	s.mu.Lock()
	s.share, s.engine, s.problem = nil, nil, condition{agentv1.ReasonStopping, "the agent is stopping"}
	if err != nil {
		s.problem = condition{agentv1.ReasonShareUnreachable, err.Error()}
	}
	s.mu.Unlock()
	s.service.Stop()
	close(ended)
	if err != nil { // another agent can have the lock soon
		s.lose(err)
		cancel()
	}
	if err != nil {
		s.Log.Error(err, "The share is lost, beginning anew")
		sh.Abandon()
		return LostShare{ServerID: sh.Store.Server().ServerID, Err: err}
	}
	cancel()
	workers.Wait()
	return sh.Close()
}

// untilLost ends calls with the share: they would work on when another agent has its lock.
func (s *Server) untilLost(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(s.lost, cancel)()
	resp, err := next(ctx, req)
	if err != nil && s.lost.Err() != nil {
		err = status.Errorf(codes.Unavailable, "%s: %v (%v)", agentv1.ReasonShareUnreachable, context.Cause(s.lost), err)
	}
	return resp, err
}

// foreignExports are those of an external server: there is nothing to tell it.
type foreignExports struct{}

func (foreignExports) Sync(context.Context, ...string) error { return nil }

func (foreignExports) Serving() bool { return true }

func (s *Server) setOwner(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = owner
}
