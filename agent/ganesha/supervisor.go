package ganesha

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
)

const (
	firstBackoff = 500 * time.Millisecond
	maxBackoff   = 10 * time.Second
	// A server that ran so long is started again without delay.
	stableAfter = 30 * time.Second
	// A start that takes longer hangs, and is begun anew. Reading an export takes 1 ms on a quiet machine, and was seen to take more than 20 on
	// one with a load of 15.
	minStartTimeout = 2 * time.Minute
	exportTimeout   = 50 * time.Millisecond
	pollStart       = 20 * time.Millisecond
)

// Status is how the supervised server is.
type Status struct {
	Serving  bool
	Failed   bool   // it ended, and has not served since
	Message  string // why it does not serve: the line of Ganesha's log that matters
	Restarts int32  // times that it was started again after its first start
}

// Server runs dbus-daemon and ganesha.nfsd as one unit: when either ends, both are started again.
type Server struct {
	config   Config
	runDir   string // for the socket, the configuration files and the pid file
	exporter *exporter
	log      logr.Logger

	mu     sync.Mutex
	status Status
	starts int32
	pid    int // of the Ganesha that was started last
}

// New prepares a server; Run starts it.
func New(c Config, runDir string, source Source, log logr.Logger) *Server {
	return &Server{config: c, runDir: runDir, exporter: newExporter(c, source), log: log, status: Status{Message: "not started"}}
}

// Sync returns when Ganesha knows each named export as the source has it now. ErrNotServing means that it will know when
// it is up again.
func (s *Server) Sync(ctx context.Context, names ...string) error {
	return s.exporter.sync(ctx, names...)
}

// Status is how the server is now.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// WaitsForDisk tells whether Ganesha is held up by the disk. It has a fixed number of threads for requests: when each of them waits, it
// answers nobody, and is as well as before as soon as the disk is.
func (s *Server) WaitsForDisk() bool {
	s.mu.Lock()
	pid := s.pid
	s.mu.Unlock()
	return pid != 0 && waitsForDisk(pid)
}

func (s *Server) setStatus(st Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Restarts = max(s.starts-1, 0)
	s.status = st
}

// Run keeps the server running until the context ends, then stops it and returns.
func (s *Server) Run(ctx context.Context) error {
	// Children are told to die with their parent; for the kernel that is the thread that started them.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := os.MkdirAll(s.runDir, 0o700); err != nil {
		return fmt.Errorf("make run directory: %w", err)
	}
	var backoff time.Duration
	for {
		begin := time.Now()
		err := s.runOnce(ctx)
		if ctx.Err() != nil {
			s.setStatus(Status{Message: "stopped"})
			return nil
		}
		s.setStatus(Status{Failed: true, Message: err.Error()})
		backoff = nextBackoff(time.Since(begin), backoff)
		s.log.Error(err, "Ganesha ended", "ranFor", time.Since(begin).String(), "again", backoff.String())
		select {
		case <-ctx.Done():
		case <-time.After(backoff):
		}
	}
}

// nextBackoff is how long to wait before the next start: clients wait, too.
func nextBackoff(ran, last time.Duration) time.Duration {
	if ran > stableAfter {
		return 0
	}
	return min(max(2*last, firstBackoff), maxBackoff)
}

// runOnce starts both processes and returns when one of them has ended, or the context has; neither runs then.
func (s *Server) runOnce(ctx context.Context) error {
	s.mu.Lock()
	s.starts++
	s.status.Serving = false
	s.mu.Unlock()

	reader := &logReader{log: s.log}
	socket := filepath.Join(s.runDir, "bus")
	bus, err := s.startBus(socket, reader)
	if err != nil {
		return err
	}
	defer bus.kill()
	if err := waitForFile(ctx, socket, bus.ended); err != nil {
		return err
	}
	server, err := s.startGanesha(socket, reader)
	if err != nil {
		return err
	}
	// Its own end takes seconds in which clients wait, and does nothing that they could see: what they were told is safe is in the file
	// system or, about themselves, in the recovery directory.
	defer server.kill()
	s.mu.Lock()
	s.pid = server.cmd.Process.Pid
	s.mu.Unlock()

	work, cancel := context.WithCancel(ctx)
	defer cancel()
	served := make(chan error, 1)
	go func() { served <- s.serve(work, socket) }()
	select {
	case err = <-served:
	case <-server.ended:
		err = fmt.Errorf("ganesha.nfsd ended (%w)", server.err)
	case <-bus.ended:
		err = fmt.Errorf("dbus-daemon ended (%w)", bus.err)
	}
	cancel()
	if reason := reader.reason(); reason != "" && err != nil && ctx.Err() == nil {
		err = fmt.Errorf("%w: %s", err, reason)
	}
	return err
}

// startTimeout is how long the Ganesha that was started last may take until it answers.
func (s *Server) startTimeout() time.Duration {
	return minStartTimeout + time.Duration(s.exporter.count())*exportTimeout
}

// serve waits until Ganesha answers, and then keeps its exports right.
func (s *Server) serve(ctx context.Context, socket string) error {
	starting, cancel := context.WithTimeout(ctx, s.startTimeout())
	defer cancel()
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), s.config.Port)
	if err := poll(starting, func() error { return Probe(starting, address) }); err != nil {
		return fmt.Errorf("ganesha.nfsd does not answer: %w", err)
	}
	b, err := dialBus(ctx, "unix:path="+socket, filepath.Join(s.runDir, "export.conf"))
	if err != nil {
		return err
	}
	defer b.close()
	if err := poll(starting, func() error { return b.show(starting) }); err != nil {
		return fmt.Errorf("ganesha.nfsd does not answer on D-Bus: %w", err)
	}
	s.setStatus(Status{Serving: true})
	s.log.Info("Serving")
	return s.exporter.serve(ctx, b)
}

// poll repeats a call until it succeeds; at the end of the context it returns the call's last error.
func poll(ctx context.Context, call func() error) error {
	for {
		err := call()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pollStart):
		}
	}
}

func waitForFile(ctx context.Context, path string, ended <-chan struct{}) error {
	for {
		if _, err := os.Stat(path); err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ended:
			return errors.New("dbus-daemon ended at its start")
		case <-time.After(pollStart):
		}
	}
}

func (s *Server) startBus(socket string, reader *logReader) (*process, error) {
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	file := filepath.Join(s.runDir, "bus.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, busConfig, "unix:path="+socket), 0o600); err != nil {
		return nil, fmt.Errorf("write D-Bus configuration: %w", err)
	}
	return start(reader, nil, "dbus-daemon", "--config-file="+file, "--nofork", "--nopidfile", "--nosyslog")
}

func (s *Server) startGanesha(socket string, reader *logReader) (*process, error) {
	text, err := s.exporter.startFile()
	if err != nil {
		return nil, fmt.Errorf("render configuration: %w", err)
	}
	file := filepath.Join(s.runDir, "ganesha.conf")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("write configuration: %w", err)
	}
	raiseFileLimit()
	return start(reader, []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + socket},
		// -F: in the foreground. -x: an error in the configuration ends it, rather than an export missing.
		"ganesha.nfsd", "-F", "-x", "-f", file, "-L", "STDERR", "-N", "NIV_EVENT", "-p", filepath.Join(s.runDir, "ganesha.pid"))
}

// raiseFileLimit lets Ganesha keep as many files open as the system allows. Go has raised the agent's own limit at its start, but
// gives children the old one unless it was set by hand.
func raiseFileLimit() {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err == nil {
		limit.Cur = limit.Max
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit) // Ganesha logs the limit that it got
	}
}
