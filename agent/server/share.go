package server

import (
	"context"
	"errors"
	"net"
	"os"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/service"
	"github.com/nfs-operator/nfs-operator/agent/share"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// runShare works on the share of an external server until the context ends. A share that is lost is taken into use anew, from the
// beginning: another agent may have worked on it meanwhile.
func (s *Server) runShare(ctx context.Context, calls *grpc.Server) {
	place := s.place()
	for ctx.Err() == nil {
		sh, owner, err := share.Open(ctx, place)
		s.setOwner(owner)
		if err == nil {
			err = s.serveShare(ctx, sh)
		}
		if ctx.Err() != nil {
			break
		}
		c := condition{share.Failed, err.Error()}
		if known := (share.Error{}); errors.As(err, &known) {
			c.reason = known.Reason
		}
		s.report(c)
		sleep(ctx, retryDisk)
	}
	stopCalls(calls)
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

// serveShare answers calls until the context ends, or the share is lost: then it returns why. It closes the share.
func (s *Server) serveShare(ctx context.Context, sh *share.Share) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	book := access.New(sh.Store, 0, time.Now)
	book.Unfenced()
	exports := &foreignExports{}
	e := engine.New(engine.Options{
		Store: sh.Store, Filesystem: sh, Access: book, Exports: exports,
		Missing: engine.Missing{Quota: true, Squash: true, Reflink: !sh.Reflink}, Now: time.Now, Log: s.Log,
	})
	if err := e.Repair(); err != nil {
		return errors.Join(share.Error{Reason: reasonRepairFailed, Err: err}, sh.Close())
	}
	s.mu.Lock()
	s.share, s.engine = sh, e
	s.facts = readFacts(sh.Store.Server())
	s.facts.version, s.facts.capabilities = sh.Version, &agentv1.Capabilities{Reflink: sh.Reflink, Xattrs: sh.Xattrs}
	s.mu.Unlock()
	ended := make(chan struct{})
	c := s.Config.External
	s.service.Start(&service.Core{
		Engine: e, Access: book, Ended: ended,
		Share: &service.Share{Server: c.Server, Path: path.Join(c.Path, sh.Store.VolumesName()), Options: sh.NodeOptions()},
	})
	s.Log.Info("Serving volumes of an external server's share", "server", c.Server, "path", c.Path, "version", sh.Version, "reflink", sh.Reflink)
	var workers sync.WaitGroup
	workers.Go(func() { e.Run(ctx) })
	err := sh.Watch(ctx)
	if err != nil {
		s.Log.Error(err, "The share is lost")
		sh.Abandon()
	}
	exports.lost.Store(true)
	s.mu.Lock()
	s.share = nil
	s.problem = condition{share.Unreachable, "the share was lost"}
	s.mu.Unlock()
	s.service.Stop()
	close(ended)
	cancel()
	s.service.Drain()
	workers.Wait()
	if closing := sh.Close(); closing != nil {
		s.Log.Error(closing, "Cannot unmount the share")
	}
	return err
}

// foreignExports are those of an external server: there is nothing to tell it.
type foreignExports struct{ lost atomic.Bool }

func (*foreignExports) Sync(context.Context, ...string) error { return nil }

func (f *foreignExports) Serving() bool { return !f.lost.Load() }

func (s *Server) setOwner(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owner = owner
}

// missing says in sentences what a share cannot do.
func missing(c *agentv1.Capabilities) []string {
	var all []string
	if !c.GetQuota() {
		all = append(all, "Sizes are not enforced: the external server's share knows no limit for a single volume, and not what it takes.")
	}
	if !c.GetAccess() {
		all = append(all, "Access is not fenced: the external server's own export decides who can mount what; a node that is cut off can go on writing.")
	}
	if !c.GetReflink() {
		all = append(all, "Snapshots and clones are refused: the external server's share cannot clone files (NFS 4.2 CLONE).")
	}
	if !c.GetXattrs() {
		all = append(all, "Extended attributes of users are not kept: the external server's share has none.")
	}
	return all
}
