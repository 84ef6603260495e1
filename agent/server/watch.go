package server

import (
	"context"
	"errors"
	"fmt"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

// watchInterval is how often the file system is asked whether it has shut down. Until then clients get errors. A look takes 6 us, and no
// access to the disk; ten a second, with the waking up, 0.2 per cent of a processor.
const watchInterval = 100 * time.Millisecond

// LostDisk is the error of a disk whose file system was in use and has shut down: BeginAnew.
type LostDisk struct {
	Err      error
	ServerID string // of the server on that disk
}

func (e LostDisk) Error() string {
	return fmt.Sprintf("%v. Ganesha was killed, so that clients wait; the disk is mounted anew as soon as that can be, and what was acknowledged comes back with the file system's log. "+
		"The node's kernel log (dmesg) says what has failed: if that is a damaged file system, or this comes again and again, repair it (xfs_repair)", e.Err)
}

func (e LostDisk) Unwrap() error { return e.Err }

// watchDisk looks at the file system until the context ends, or it has shut down: lose is called then. A look that hangs with the disk
// holds up nothing else.
func watchDisk(ctx context.Context, serverID string, look func() error, lose context.CancelCauseFunc) {
	for sleep(ctx, watchInterval) {
		if err := look(); errors.Is(err, xfs.ErrShutDown) {
			lose(LostDisk{err, serverID})
			return
		}
	}
}

// lostDisk says why nothing is served any more.
func (s *Server) lostDisk(lost LostDisk) {
	s.mu.Lock()
	s.nfs = nil
	s.mu.Unlock()
	s.report(condition{agentv1.ReasonDiskFailed, lost.Error()})
}
