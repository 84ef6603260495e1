//go:build vm && bench

package agent

import (
	"context"
	"fmt"
	"testing"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const (
	nodes          = 50
	volumesPerNode = 100
)

// timeReassertion lets 50 nodes say what they have staged: once as before the restart, once from addresses that have all changed, as
// when the server has moved.
func timeReassertion(t *testing.T, h *host.Host) {
	t.Helper()
	clients := make([]agentv1.AgentClient, nodes)
	for i := range clients {
		clients[i] = h.Node(t, fmt.Sprintf("node-%d", i))
	}
	generation := int64(0)
	announceAll := func(network int) float64 {
		generation++
		begin := time.Now()
		parallel(t, nodes, nodes, func(ctx context.Context, i int) error { return announce(ctx, clients[i], i, network, generation) })
		return time.Since(begin).Seconds()
	}
	announceAll(1)
	var same, moved []float64
	for run := range runs {
		same = append(same, announceAll(run+1))
		moved = append(moved, announceAll(run+2))
	}
	bench.Record(t, "reassert_5000_s", "50 nodes announce 100 grants each, nothing has changed", same...)
	bench.Record(t, "reassert_moved_5000_s", "50 nodes announce 100 grants each, every address has changed: 5,000 exports updated", moved...)
}

func announce(ctx context.Context, c agentv1.AgentClient, node, network int, generation int64) error {
	stream, err := c.Announce(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = stream.CloseSend() }()
	a := &agentv1.Announcement{Generation: generation, Client: &agentv1.Client{BootId: "boot", Addresses: []string{fmt.Sprintf("10.%d.0.%d", network, node+1)}}}
	for i := range volumesPerNode {
		a.Grants = append(a.Grants, &agentv1.Grant{VolumeId: store.ID(volumeName(node*volumesPerNode + i)), Generation: 1})
	}
	if err := stream.Send(a); err != nil {
		return err
	}
	_, err = stream.Recv()
	return err
}
