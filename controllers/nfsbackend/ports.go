package nfsbackend

import (
	"fmt"
	"slices"
	"strings"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/conditions"
)

const (
	reasonAnyPort         = "ConnectionsFromAnyPort"
	reasonPrivilegedPorts = "PrivilegedPorts"
	// mostNamed is how many nodes or servers a sentence names.
	mostNamed = 10
)

// listed names the first of many.
func listed(all []string) string {
	text := strings.Join(all[:min(len(all), mostNamed)], ", ")
	if more := len(all) - mostNamed; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// setUnprivileged names the nodes that do not connect from privileged ports. A server that cannot be asked leaves the
// condition as it was.
func setUnprivileged(s *scope, set conditions.Setter) {
	var nodes []string
	for _, shard := range s.shards {
		if shard.agent == nil {
			return
		}
		nodes = append(nodes, shard.agent.GetUnprivilegedNodes()...)
	}
	if len(s.shards) == 0 {
		return
	}
	slices.Sort(nodes)
	nodes = slices.Compact(nodes)
	if len(nodes) == 0 {
		set.Set(v1alpha1.ConditionUnprivilegedNodes, false, reasonPrivilegedPorts, "all nodes connect from ports below 1024")
		return
	}
	set.Set(v1alpha1.ConditionUnprivilegedNodes, true, reasonAnyPort, "connections of "+listed(nodes)+" do not come from ports below 1024, because something "+
		"on the way changes them: there, any process in the host network can use what the node has mounted (SECURITY.md)")
}
