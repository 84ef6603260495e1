// Package sweep finds volumes that nobody knows of. A volume is made before its PersistentVolume is written; when whoever
// does both dies in between, and the claim is deleted before its successor comes to it, no deletion is ever asked for
// (https://github.com/kubernetes-csi/external-provisioner/issues/486).
//
// An agent calls a volume provisional until it was confirmed here, because a PersistentVolume of it exists, or was staged.
// Provisional volumes that nobody has asked for in an hour, and that have neither PersistentVolume nor claim, are deleted; so are
// those whose name another volume has got a PersistentVolume for, made on another server while theirs was away. All others hold
// somebody's data: they are reported only.
//
// While there is no provisional volume nothing is asked of the API server.
package sweep

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/apimachinery/pkg/util/wait"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	// Interval is the time between two looks for provisional volumes.
	Interval = 10 * time.Minute
	// reportEvery so many looks all volumes are compared with all PersistentVolumes.
	reportEvery = 36
	// idle is how long nobody must have asked for a volume before it is swept.
	idle = time.Hour
	// pageSize is how many entries are read at once, of agents and of the API server.
	pageSize = 500
	// confirmAtOnce is how many volumes are confirmed by one call: each is a write to the agent's disk.
	confirmAtOnce = 100
	// named is how many handles a message names.
	named = 5
	// agentTimeout bounds a call to an agent.
	agentTimeout = 30 * time.Second
)

// Reasons of the events, which are about NFSBackends.
const (
	ReasonDeleted   = "OrphanedVolumeDeleted"
	ReasonUnclaimed = "VolumesWithoutPersistentVolume"
)

// Servers lists the servers of all backends; catalog.Catalog does.
type Servers interface {
	AllServers(ctx context.Context) ([]catalog.Server, error)
}

// Agents connects to agents; agents.Pool does.
type Agents interface {
	Agent(shard volumeid.Shard, address string) (agentv1.AgentClient, error)
}

// Cluster is what has to be known of the cluster; Objects is one.
type Cluster interface {
	PersistentVolumes(ctx context.Context) (PersistentVolumes, error)
	// ClaimExists tells whether the claim for which a volume of that CSI name was made may still exist.
	ClaimExists(ctx context.Context, namespace, name, volume string) (bool, error)
	// Event tells people about a backend.
	Event(ctx context.Context, backend, reason, message string)
}

// PersistentVolumes are those of the driver.
type PersistentVolumes struct {
	Handles map[string]bool   // their volume handles
	Named   map[string]string // their volume handles by their names, which are the CSI names of what csi-provisioner has made
}

// Sweeper looks after the volumes of all servers. One at a time should run.
type Sweeper struct {
	servers Servers
	agents  Agents
	cluster Cluster
	metrics *Metrics
	log     logr.Logger
	// unclaimed are the volumes of each backend that were last reported.
	unclaimed map[string][]string
}

// New makes a Sweeper.
func New(servers Servers, agents Agents, cluster Cluster, metrics *Metrics, log logr.Logger) *Sweeper {
	return &Sweeper{servers: servers, agents: agents, cluster: cluster, metrics: metrics, log: log, unclaimed: map[string][]string{}}
}

// Run sweeps until the context ends. The first look is at a random time within the interval.
func (s *Sweeper) Run(ctx context.Context) {
	timer := time.NewTimer(wait.Jitter(Interval/10, 5))
	defer timer.Stop()
	for look := 0; ; look++ {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		s.Sweep(ctx)
		if look%reportEvery == 0 {
			s.Report(ctx)
		}
		timer.Reset(wait.Jitter(Interval, 0.2))
	}
}

// found is a volume on a server.
type found struct {
	*agentv1.Volume

	server catalog.Server
	agent  agentv1.AgentClient
}

func (f found) handle() string { return volumeid.Volume{Shard: f.server.Shard, ID: f.GetId()}.String() }

// Sweep confirms the provisional volumes that have PersistentVolumes, and deletes those that nobody knows of. What cannot
// be asked is left for the next time.
func (s *Sweeper) Sweep(ctx context.Context) {
	// Volumes first: a PersistentVolume that is written meanwhile is seen.
	volumes := s.list(ctx, &agentv1.ListVolumesRequest{OnlyProvisional: true})
	if len(volumes) == 0 {
		return
	}
	persistent, err := s.cluster.PersistentVolumes(ctx)
	if err != nil {
		s.log.Error(err, "Cannot list PersistentVolumes, sweeping nothing")
		return
	}
	known := map[volumeid.Shard][]found{}
	for _, v := range volumes {
		switch {
		case persistent.Handles[v.handle()]:
			known[v.server.Shard] = append(known[v.server.Shard], v)
		case v.GetAskedSecondsAgo() >= int64(idle/time.Second):
			s.sweep(ctx, v, persistent.Named[v.GetName()])
		}
	}
	for _, list := range known {
		s.confirm(ctx, list)
	}
}

func (s *Sweeper) confirm(ctx context.Context, list []found) {
	for some := range slices.Chunk(list, confirmAtOnce) {
		ids := make([]string, len(some))
		for i, v := range some {
			ids[i] = v.GetId()
		}
		ctx, cancel := context.WithTimeout(ctx, agentTimeout)
		_, err := some[0].agent.ConfirmVolumes(ctx, &agentv1.ConfirmVolumesRequest{Ids: ids})
		cancel()
		if err != nil {
			s.log.V(1).Info("Cannot confirm volumes, trying later", "server", some[0].server.Shard.Name(), "error", err.Error())
			return
		}
	}
}

// sweep deletes a volume without PersistentVolume, if it has no claim, or the claim has another volume: twin.
func (s *Sweeper) sweep(ctx context.Context, v found, twin string) {
	namespace, name := v.GetSpec().GetClaimNamespace(), v.GetSpec().GetClaimName()
	log := s.log.WithValues("volume", v.handle(), "name", v.GetName(), "claim", namespace+"/"+name)
	if name == "" || namespace == "" {
		log.V(1).Info("A volume has no PersistentVolume, and nobody has written down whose it is: leaving it alone")
		return
	}
	exists, err := s.cluster.ClaimExists(ctx, namespace, name, v.GetName())
	if err != nil {
		log.Error(err, "Cannot look for the claim of a volume, leaving it alone")
		return
	}
	because := "was deleted before it had a PersistentVolume"
	switch {
	case twin != "":
		because = "got volume " + twin + " while this one's server was away"
	case exists:
		return
	}
	callCtx, cancel := context.WithTimeout(ctx, agentTimeout)
	defer cancel()
	// The agent looks again: the volume may have been asked for or staged since.
	_, err = v.agent.DeleteVolume(callCtx, &agentv1.DeleteVolumeRequest{Id: v.GetId(), ProvisionalForSeconds: int64(idle / time.Second)})
	switch status.Code(err) {
	case codes.OK:
		log.Info("Deleted a volume that nobody knows of", "because", because)
		s.metrics.Swept.WithLabelValues(v.server.Shard.Backend).Inc()
		s.cluster.Event(ctx, v.server.Shard.Backend, ReasonDeleted, fmt.Sprintf("volume %s (%d bytes) was made for claim %s/%s, "+
			"which %s; nobody ever used it", v.handle(), v.GetSpec().GetBytes(), namespace, name, because))
	case codes.FailedPrecondition:
		log.Info("A volume is in use after all")
	default:
		log.Error(err, "Cannot delete a volume that nobody knows of, trying later")
	}
}

// Report says which volumes in service have no PersistentVolume. They were used once, and hold somebody's data: a
// PersistentVolume with policy Retain was deleted, or a backup of the cluster's objects is older than the disk.
func (s *Sweeper) Report(ctx context.Context) {
	volumes := s.list(ctx, &agentv1.ListVolumesRequest{})
	persistent, err := s.cluster.PersistentVolumes(ctx)
	if err != nil {
		s.log.Error(err, "Cannot list PersistentVolumes, reporting nothing")
		return
	}
	unclaimed := map[string][]string{}
	for _, v := range volumes {
		backend := v.server.Shard.Backend
		if _, ok := unclaimed[backend]; !ok {
			unclaimed[backend] = nil
		}
		if !v.GetProvisional() && !persistent.Handles[v.handle()] {
			unclaimed[backend] = append(unclaimed[backend], v.handle())
		}
	}
	for backend, list := range unclaimed {
		slices.Sort(list)
		s.metrics.Unclaimed.WithLabelValues(backend).Set(float64(len(list)))
		if len(list) > 0 && !slices.Equal(list, s.unclaimed[backend]) {
			s.log.Info("Volumes in service have no PersistentVolume", "backend", backend, "volumes", list)
			s.cluster.Event(ctx, backend, ReasonUnclaimed, fmt.Sprintf("%d volumes hold data and have no PersistentVolume: %s. "+
				"Write PersistentVolumes with these handles to use or to delete them", len(list), shorten(list)))
		}
		s.unclaimed[backend] = list
	}
}

func shorten(list []string) string {
	if len(list) > named {
		return strings.Join(list[:named], ", ") + ", ..."
	}
	return strings.Join(list, ", ")
}

// list reads the volumes of all servers that answer.
func (s *Sweeper) list(ctx context.Context, req *agentv1.ListVolumesRequest) []found {
	servers, err := s.servers.AllServers(ctx)
	if err != nil {
		s.log.Error(err, "Cannot list the servers")
		return nil
	}
	var all []found
	for _, server := range servers {
		list, err := s.listServer(ctx, server, req)
		if err != nil {
			s.log.V(1).Info("Cannot list the volumes of a server", "server", server.Shard.Name(), "error", err.Error())
			continue
		}
		all = append(all, list...)
	}
	return all
}

func (s *Sweeper) listServer(ctx context.Context, server catalog.Server, req *agentv1.ListVolumesRequest) ([]found, error) {
	agent, err := s.agents.Agent(server.Shard, server.Address)
	if err != nil {
		return nil, err
	}
	var all []found
	for after := ""; ; {
		ctx, cancel := context.WithTimeout(ctx, agentTimeout)
		page, err := agent.ListVolumes(ctx, &agentv1.ListVolumesRequest{
			OnlyProvisional: req.GetOnlyProvisional(), AfterId: after, MaxEntries: pageSize,
		})
		cancel()
		if err != nil {
			return nil, err
		}
		for _, v := range page.GetVolumes() {
			all = append(all, found{Volume: v, server: server, agent: agent})
		}
		if after = page.GetNextAfterId(); after == "" {
			return all, nil
		}
	}
}
