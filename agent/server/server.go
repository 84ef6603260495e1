// Package server is the agent as a process: it puts the other packages together, brings the disk up, and stops in the order
// that loses nothing.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/exports"
	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/agent/service"
	"github.com/nfs-operator/nfs-operator/agent/share"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

// Options are the agent's flags and configuration.
type Options struct {
	Config        config.Config
	ExportsFile   string   // static exports (config.Exports)
	TLSDir        string   // tls.crt, tls.key and ca.crt
	Listen        string   // address of the gRPC service
	HealthAddress string   // address of /livez, /readyz and /metrics
	RunDir        string   // for sockets and generated files; lost with the pod
	Warnings      []string // what the status warns of from the start
	Log           logr.Logger
}

const (
	// Nodes keep a stream open for as long as they have volumes; one that lost its power must be noticed.
	keepaliveTime = 10 * time.Second
	// The least that a client may wait between pings.
	keepaliveMin = 5 * time.Second
	// Thousands of nodes may be connected, and a message is small.
	bufferBytes = 4 << 10
	// How long calls in progress have at the end.
	graceOfCalls = 2 * time.Second
)

// Server is a running agent.
type Server struct {
	Options
	service *service.Service
	metrics *metrics

	mu      sync.Mutex
	problem condition // why it does not serve, as long as nfs and share are nil
	nfs     *ganesha.Server
	facts   facts
	engine  *engine.Engine // nil until the disk has been repaired
	exports *exports.Keeper
	share   *share.Share // of an external server, as long as it is served
	owner   string       // of that share, as it says
	// grownTooFar is the warning of a disk that has, empty when there is none.
	grownTooFar string

	// lostDiskBefore is set from the start where the program has begun anew because of its disk, whose file system was writable then.
	lostDiskBefore bool

	lost context.Context         //nolint:containedctx // ends with the share
	lose context.CancelCauseFunc // with the reason
}

// Lost is the error of what was in use and is lost, for which the program begins anew: LostShare, LostDisk.
type Lost interface {
	error
	BeginAnew() error
}

// Run serves until the context ends. It returns an error only when it cannot even say what is wrong: a disk that cannot be used
// is told by GetStatus and /readyz, and tried again; and a Lost.
func Run(ctx context.Context, o Options) error {
	s := &Server{Options: o, metrics: newMetrics(), problem: condition{agentv1.ReasonStarting, "the agent is starting"}}
	s.lost, s.lose = context.WithCancelCause(context.Background())
	defer s.lose(nil)
	if c, serverID, anew := begunAnew(); anew {
		s.problem = c
		s.lostDiskBefore = c.reason == agentv1.ReasonDiskFailed
		known := &s.Config.ServerID
		if s.Config.External != nil {
			known = &s.Config.External.ServerID
		}
		*known = cmp.Or(*known, serverID) // the manager has not said it at the first start
	}
	s.service = service.New(s.status)
	s.metrics.watch(s)

	listener, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	calls := s.newGRPC()
	health := &http.Server{Addr: o.HealthAddress, Handler: s.healthHandler(), ReadHeaderTimeout: 5 * time.Second}
	failed := make(chan error, 2)
	go func() { failed <- calls.Serve(listener) }()
	go func() { failed <- health.ListenAndServe() }()
	defer func() { _ = health.Close() }()

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var lost error
	done := make(chan struct{})
	go func() {
		defer close(done)
		if o.Config.External != nil {
			lost = s.runShare(ctx, calls)
		} else {
			lost = s.run(ctx, calls)
		}
	}()
	select {
	case err = <-failed:
	case <-done:
	}
	cancel()
	<-done
	if errors.As(lost, new(Lost)) {
		return lost
	}
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

func (s *Server) newGRPC() *grpc.Server {
	g := grpc.NewServer(
		grpc.Creds(pki.DirSource(s.TLSDir).ServerCredentials()),
		grpc.ChainUnaryInterceptor(s.metrics.unary, s.recoverUnary, service.AuthorizeUnary, s.untilLost),
		grpc.ChainStreamInterceptor(s.recoverStream, service.AuthorizeStream),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: keepaliveTime, Timeout: keepaliveTime}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveMin, PermitWithoutStream: true}),
		grpc.ReadBufferSize(bufferBytes), grpc.WriteBufferSize(bufferBytes),
	)
	agentv1.RegisterAgentServer(g, s.service)
	return g
}

// run brings up the disk and the NFS server, waits for the end, and takes them down again. It returns a LostDisk, and leaves the disk as it
// is, when the file system has shut down.
func (s *Server) run(ctx context.Context, calls *grpc.Server) error {
	d, err := s.openDisk(ctx)
	if err != nil {
		stopCalls(calls)
		return nil // only when the context has ended
	}
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	go watchDisk(ctx, d.store.Server().ServerID, func() error { return xfs.CheckRunning(d.store.ServerRecord()) }, lose)
	if s.serveDisk(ctx, d, calls); errors.As(context.Cause(ctx), new(LostDisk)) {
		return context.Cause(ctx)
	}
	d.close(s.Log)
	return nil
}

// serveDisk serves until the context ends.
func (s *Server) serveDisk(ctx context.Context, d *disk, calls *grpc.Server) {
	book := access.New(d.store, s.patience(), time.Now, s.Log)
	record := d.store.Server()
	nfs := ganesha.New(ganesha.Config{
		Port: names.PortNFS, ServerID: record.ServerID, RecoveryDir: d.store.Recovery(),
		LeaseSeconds: s.Config.LeaseSeconds, GraceSeconds: s.Config.GraceSeconds,
	}, s.RunDir, book, s.Log.WithName("ganesha"))
	e := engine.New(engine.Options{
		Store: d.store, Filesystem: d.limited(), Access: book, Exports: runningServer{nfs}, Missing: d.missing(),
		OvercommitPercent: s.Config.OvercommitPercent, Now: time.Now, Log: s.Log,
	})
	begin := time.Now()
	version := make(chan string, 1)
	go func() { version <- ganeshaVersion(ctx) }()
	// One looks at all volumes, the other waits for a program to start.
	repaired := make(chan bool, 1)
	go func() { repaired <- s.repair(ctx, e) }()
	checked := s.checkHandle(ctx, d.store)
	handleChecked := time.Now()
	if !<-repaired || !checked {
		stopCalls(calls)
		return
	}
	keeper := &exports.Keeper{
		File: s.ExportsFile, Store: d.store, Filesystem: d.limited(), Engine: e, Access: book, Log: s.Log.WithName("exports"),
	}
	keeper.Look() // Ganesha has to know them when it starts
	s.setHostname(record.ServerID)
	runs := <-version // not under the lock, which /livez takes
	facts := readFacts(record)
	facts.ganesha, facts.capabilities = runs, d.capabilities()
	if d.mounted != nil {
		facts.filesystem = d.mounted.Type
	}
	s.mu.Lock()
	s.nfs, s.engine, s.exports, s.facts = nfs, e, keeper, facts
	s.mu.Unlock()
	s.Log.Info("The disk is ready to be served", "checkedFor", time.Since(begin).String(), "handleCheckedFor", handleChecked.Sub(begin).String())
	ended := make(chan struct{})
	s.service.Start(&service.Core{Engine: e, Access: book, Ended: ended})

	// The order of the end: what the clients have written goes to the disk while they are still served; then calls and Ganesha end
	// together, for clients wait; then the workers on the disk; the unmount is deferred.
	nfsContext, stopNFS := context.WithCancel(context.Background())
	defer stopNFS()
	var workers sync.WaitGroup
	nfsDone := make(chan struct{})
	go func() {
		defer close(nfsDone)
		if err := nfs.Run(nfsContext); err != nil {
			s.Log.Error(err, "Cannot run Ganesha")
		}
	}()
	workers.Go(func() { e.Run(ctx) })
	workers.Go(func() { s.keepGrowing(ctx, d) })
	workers.Go(func() { keeper.Run(ctx) })
	<-ctx.Done()
	if lost := (LostDisk{}); errors.As(context.Cause(ctx), &lost) {
		stopNFS() // first of all: no answer is better than an error
		s.lostDisk(lost)
		s.service.Stop()
		close(ended)
		calls.Stop() // which waits for none of them
		<-nfsDone
		return
	}
	s.Log.Info("Stopping")
	if err := d.fs.Sync(); err != nil {
		s.Log.Error(err, "Cannot sync before the end")
	}
	s.service.Stop()
	close(ended) // announcements would go on for as long as their nodes have volumes
	stopNFS()
	stopCalls(calls)
	<-nfsDone
	workers.Wait()
}

// patience is how long a node may be silent.
func (s *Server) patience() time.Duration {
	if s.Config.SilenceSeconds > 0 {
		return time.Duration(s.Config.SilenceSeconds) * time.Second
	}
	return access.Patience
}

// repair tries until it succeeds or the context ends.
func (s *Server) repair(ctx context.Context, e *engine.Engine) bool {
	for {
		err := e.Repair()
		if err == nil {
			return true
		}
		s.report(condition{agentv1.ReasonRepairFailed, err.Error()})
		if !sleep(ctx, retryDisk) {
			return false
		}
	}
}

// runningServer is the NFS server as the engine sees it.
type runningServer struct{ *ganesha.Server }

func (r runningServer) Serving() bool { return r.Status().Serving }

// stopCalls gives calls in progress a moment.
func stopCalls(calls *grpc.Server) {
	timer := time.AfterFunc(graceOfCalls, calls.Stop)
	defer timer.Stop()
	calls.GracefulStop()
}

// sleep returns false when the context has ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
