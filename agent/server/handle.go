package server

import (
	"context"
	"fmt"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/ganesha"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

// checkHandle returns when the file handles that Ganesha would hand out are those that clients of this disk hold; false when the
// context has ended before. Until then nothing serves: a client that waits goes on one day, one that is told that its handle is stale
// does not.
func (s *Server) checkHandle(ctx context.Context, disk *store.Store) bool {
	for {
		c := s.compareHandle(ctx, disk)
		if c == (condition{}) {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.report(c)
		if !sleep(ctx, retryDisk) {
			return false
		}
	}
}

func (s *Server) compareHandle(ctx context.Context, disk *store.Store) condition {
	handle, err := ganesha.Handle(ctx, disk.Probe(), s.RunDir, s.Log.WithName("ganesha"))
	if err != nil {
		return condition{agentv1.ReasonGaneshaFailed, err.Error()}
	}
	switch recorded := disk.Server().ProbeHandle; recorded {
	case handle:
		return condition{}
	case "":
		if err := disk.SetProbeHandle(handle); err != nil {
			return condition{agentv1.ReasonDiskFailed, err.Error()}
		}
		return condition{}
	default:
		return condition{agentv1.ReasonHandleWouldChange, fmt.Sprintf(
			"Ganesha gives the disk's root the file handle %s, and clients hold handles made like %s: they would be told that theirs are stale. "+
				"Is the device visible below /dev, does blkid see XFS on it and nothing else, and is the image the one that served before?", handle, recorded)}
	}
}
