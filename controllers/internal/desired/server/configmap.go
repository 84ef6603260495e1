package server

import (
	"cmp"
	"fmt"
	"net/netip"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// ConfigMap is the agent's configuration.
func ConfigMap(s Shard) (*corev1ac.ConfigMapApplyConfiguration, error) {
	text, err := agentConfig(s)
	if err != nil {
		return nil, err
	}
	if s.External() {
		return corev1ac.ConfigMap(s.Name(), s.Namespace).
			WithLabels(s.Labels()).
			WithData(map[string]string{names.KeyAgentConfig: text}), nil
	}
	exports, err := agentExports(s)
	if err != nil {
		return nil, err
	}
	return corev1ac.ConfigMap(s.Name(), s.Namespace).
		WithLabels(s.Labels()).
		WithData(map[string]string{names.KeyAgentConfig: text, names.KeyAgentExports: exports}), nil
}

// agentExports are in a key of their own: the agent follows it, so that a change restarts nothing.
func agentExports(s Shard) (string, error) {
	server := s.Backend.Spec.Server
	var e config.Exports
	if server.Access != nil {
		for _, cidr := range server.Access.CIDRs {
			network, err := netip.ParsePrefix(string(cidr))
			if err != nil {
				return "", fmt.Errorf("access of %s: %w", s.Backend.Name, err)
			}
			e.AccessCIDRs = append(e.AccessCIDRs, network)
		}
	}
	for _, x := range server.Exports {
		if x.Shard != s.Number {
			continue
		}
		export := config.StaticExport{
			Name: x.Name, Path: cmp.Or(x.Path, x.Name), Bytes: max(x.Size.Value(), 1), Squash: config.Squash(x.Squash),
			AnonymousUID: uint32(x.AnonymousUID), AnonymousGID: uint32(x.AnonymousGID),
		}
		for _, c := range x.Clients {
			network, err := netip.ParsePrefix(string(c.CIDR))
			if err != nil {
				return "", fmt.Errorf("export %s of %s: %w", x.Name, s.Backend.Name, err)
			}
			export.Clients = append(export.Clients, config.ExportClient{CIDR: network, ReadOnly: c.Access == v1alpha1.ExportReadOnly})
		}
		e.Exports = append(e.Exports, export)
	}
	text, err := e.Marshal()
	if err != nil {
		return "", fmt.Errorf("marshal exports of %s: %w", s.Name(), err)
	}
	return string(text), nil
}

func agentConfig(s Shard) (string, error) {
	c := config.Config{Backend: s.Backend.Name, Shard: s.Number, DataDir: names.DataDir}
	if s.External() {
		c.External = externalConfig(s)
	} else {
		server := s.Backend.Spec.Server
		c.ServerID = s.ServerID
		if !s.Mounted() {
			c.Device = names.DataDevice
		}
		c.LeaseSeconds, c.GraceSeconds = server.LeaseSeconds, server.GraceSeconds
		c.OvercommitPercent = server.OvercommitPercent
	}
	text, err := c.Marshal()
	if err != nil {
		return "", fmt.Errorf("marshal configuration of %s: %w", s.Name(), err)
	}
	return string(text), nil
}
