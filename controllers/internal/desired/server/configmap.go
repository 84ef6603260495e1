package server

import (
	"fmt"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// ConfigMap is the agent's configuration.
func ConfigMap(s Shard) (*corev1ac.ConfigMapApplyConfiguration, error) {
	text, err := agentConfig(s)
	if err != nil {
		return nil, err
	}
	return corev1ac.ConfigMap(s.Name(), s.Namespace).
		WithLabels(s.labels()).
		WithData(map[string]string{names.KeyAgentConfig: text}), nil
}

func agentConfig(s Shard) (string, error) {
	server := s.Backend.Spec.Server
	text, err := config.Config{
		Backend:           s.Backend.Name,
		Shard:             s.Number,
		Device:            names.DataDevice,
		DataDir:           names.DataDir,
		LeaseSeconds:      server.LeaseSeconds,
		GraceSeconds:      server.GraceSeconds,
		OvercommitPercent: server.OvercommitPercent,
	}.Marshal()
	if err != nil {
		return "", fmt.Errorf("marshal configuration of %s: %w", s.Name(), err)
	}
	return string(text), nil
}
