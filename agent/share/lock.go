package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

// The agent's lock on the share is one of the server's: it is free as soon as the process is gone and the client's kernel could say so,
// and else when the client's lease has ended. Two agents of one backend exist when the node of the first is cut off from its cluster.
const (
	watchInterval = 2 * time.Second
	// watchPatience is how long the server may take to answer one read; pace makes it shorter for short leases. An agent that is cut off stops
	// before another can have its lock.
	watchPatience = 10 * time.Second
	lockTextBytes = 512
	// lockPatience is how long is waited for a lock that another process has: the kernel gives that of a killed one back a moment after its end.
	lockPatience = 3 * time.Second
	lockInterval = 100 * time.Millisecond
)

// lock takes the lock of a share, and writes down who holds it. The file is read and written past all caches: only so does a read ask
// the server, and fail when the lock is lost.
func lock(ctx context.Context, l store.Layout, holder string) (*os.File, error) {
	if err := os.Mkdir(l.Meta(), 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, failed(fmt.Errorf("make a directory on the share: %w", err))
	}
	f, err := os.OpenFile(l.Lock(), os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_DIRECT, 0o600)
	if err != nil {
		return nil, failed(fmt.Errorf("open the lock: %w", err))
	}
	if err := awaitLock(ctx, f); err != nil {
		err = lockError(f, err)
		_ = f.Close()
		return nil, err
	}
	text := make([]byte, lockTextBytes)
	copy(text[:lockTextBytes-1], holder)
	if _, err := f.WriteAt(text, 0); err != nil {
		_ = f.Close()
		return nil, failed(fmt.Errorf("write the lock: %w", err))
	}
	return f, nil
}

func awaitLock(ctx context.Context, f *os.File) error {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(lockInterval):
		}
	}
}

func lockError(f *os.File, err error) error {
	if !errors.Is(err, unix.EWOULDBLOCK) {
		return failed(fmt.Errorf("lock the share: %w", err))
	}
	text := make([]byte, lockTextBytes)
	n, _ := f.ReadAt(text, 0) // for people
	holder, _, _ := strings.Cut(string(text[:n]), "\x00")
	return Error{agentv1.ReasonShareLocked, fmt.Errorf("another agent of this backend works on the share: %.200q. This one goes on when that one has ended; "+
		"when its node died, that takes as long as the server's lease", holder)}
}

// Watch returns when the share is lost: its server does not answer, or the lock is not ours any more; nil when the context has ended.
func (s *Share) Watch(ctx context.Context) error {
	text := make([]byte, lockTextBytes)
	interval, patience := pace(s.place.lease())
	for {
		done := make(chan error, 1)
		go func() {
			_, err := s.lock.ReadAt(text, 0)
			done <- err
		}()
		select {
		case err := <-done:
			if err != nil {
				return watchError(err)
			}
		case <-time.After(patience):
			return Error{agentv1.ReasonShareUnreachable, fmt.Errorf("the server has not answered for %s", patience)}
		case <-ctx.Done():
			return nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(interval):
		}
	}
}

func watchError(err error) error {
	if errors.Is(err, unix.EIO) {
		err = fmt.Errorf("the lock is lost, for the server has not heard of this agent for longer than its lease: %w", err)
	}
	return failed(fmt.Errorf("look at the share: %w", err))
}
