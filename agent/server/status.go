package server

import (
	"context"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/service"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/internal/version"
)

// versionTimeout is how long Ganesha may take to say its version, which is for people: it is served without.
var versionTimeout = 10 * time.Second

// condition is why the server does not serve: a reason for programs and a sentence for people.
type condition struct{ reason, message string }

// facts do not change while the agent runs.
type facts struct {
	serverID, mkfsOptions, ganesha, kernel string
	version                                string // of NFS, agreed on with an external server
	filesystem                             string // type of one that somebody else has mounted
	capabilities                           *agentv1.Capabilities
}

func readFacts(record store.Server) facts {
	f := facts{serverID: record.ServerID, mkfsOptions: record.MkfsOptions}
	var name unix.Utsname
	if err := unix.Uname(&name); err == nil {
		f.kernel = unix.ByteSliceToString(name.Release[:])
	}
	return f
}

func ganeshaVersion(ctx context.Context) string {
	ctx, cancel := context.WithTimeout(ctx, versionTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "ganesha.nfsd", "-v").Output()
	if err != nil {
		return ""
	}
	return parseGaneshaVersion(string(out))
}

// parseGaneshaVersion reads "NFS-Ganesha Release = V15.2".
func parseGaneshaVersion(out string) string {
	for line := range strings.Lines(out) {
		if _, v, ok := strings.Cut(line, "Release = V"); ok {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

// report notes why the server does not serve, and logs it when it is news.
func (s *Server) report(c condition) {
	s.mu.Lock()
	news := s.problem != c
	s.problem = c
	s.mu.Unlock()
	if news {
		s.Log.Info("Not serving", "reason", c.reason, "message", c.message)
	}
}

func (s *Server) condition() (serving bool, c condition, restarts int32) {
	s.mu.Lock()
	nfs, share, problem := s.nfs, s.share, s.problem
	s.mu.Unlock()
	if share != nil {
		return true, condition{}, 0
	}
	if nfs == nil {
		return false, problem, 0
	}
	st := nfs.Status()
	switch {
	case st.Serving:
		return true, condition{}, st.Restarts
	case st.Failed:
		return false, condition{agentv1.ReasonGaneshaFailed, st.Message}, st.Restarts
	default:
		return false, condition{agentv1.ReasonGaneshaStarting, st.Message}, st.Restarts
	}
}

// status is the answer to GetStatus. core is nil until the disk is there.
func (s *Server) status(core *service.Core) *agentv1.ServerStatus {
	serving, c, restarts := s.condition()
	s.mu.Lock()
	f, keeper, owner, grownTooFar := s.facts, s.exports, s.owner, s.grownTooFar
	s.mu.Unlock()
	st := &agentv1.ServerStatus{
		Serving: serving, Reason: c.reason, Message: c.message, GaneshaRestarts: restarts,
		Warnings: slices.Clone(s.Warnings), Version: version.Version, ServerId: f.serverID, GaneshaVersion: f.ganesha, KernelVersion: f.kernel, MkfsOptions: f.mkfsOptions,
		Capabilities: f.capabilities, NfsVersion: f.version, ShareOwner: owner, Filesystem: f.filesystem,
	}
	if core == nil {
		// Nobody can say what it holds, so it is not to look like one that holds nothing.
		if st.Serving {
			st.Serving, st.Reason, st.Message = false, agentv1.ReasonStopping, "the agent is stopping"
		}
		return st
	}
	if keeper != nil {
		st.Warnings = append(st.Warnings, keeper.Warnings()...)
	}
	if grownTooFar != "" {
		st.Warnings = append(st.Warnings, grownTooFar)
	}
	st.Nodes = core.Access.Announcing()
	st.GrantedNodes, st.GoneNodes, st.SilentBoots = core.Access.Granted(), core.Access.Gone(), core.Access.SilentBoots()
	if core.Share == nil { // else the server does not ask for privileged ports on our word
		st.UnprivilegedNodes = core.Access.Unprivileged()
	}
	found, err := core.Engine.Survey()
	if err != nil {
		// An answer that the server serves and holds nothing could cost the disk.
		s.Log.Error(err, "Cannot count what the disk holds")
		st.Serving, st.Reason, st.Message = false, agentv1.ReasonDiskFailed, err.Error()
		return st
	}
	holds := found.Holdings
	st.Volumes, st.Snapshots, st.Archived = int32(holds.Volumes), int32(holds.Snapshots), int32(holds.Archived)
	st.Exports = int32(holds.Exports)
	if found.Old {
		st.Warnings = append(st.Warnings, "the disk does not answer, and clients wait for it; what it holds and its capacity are as they were counted last: look at the log of the node's kernel (dmesg)")
	}
	if found.CapacityErr != nil {
		s.Log.Error(found.CapacityErr, "Cannot read the capacity")
		return st
	}
	st.Capacity = service.CapacityTo(found.Capacity)
	st.TrashBytes = found.Capacity.Trash
	return st
}
