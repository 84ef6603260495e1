// Package config is the agent's configuration: the manager writes it into the shard's ConfigMap, the agent reads it.
package config

import (
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// Config is what an agent must know that its disk does not tell it.
type Config struct {
	// Backend is the NFSBackend's name.
	Backend string `json:"backend"`
	// Shard is the server's number within the backend, from 0.
	Shard int32 `json:"shard"`
	// DataDir is where the device or the external share is mounted, or a file system is mounted already.
	DataDir string `json:"dataDir"`
	// External is an NFS server that exists elsewhere. The fields below it are about one of our own, and not used then.
	External *External `json:"external,omitempty"`
	// Device is the block device that holds the data. It must lie below /dev. Empty where the data lie on a file system that somebody else
	// has made, and mounted on DataDir.
	Device string `json:"device,omitempty"`
	// ServerID is the identity that the agent of this server has found or written on its disk before. A disk that has another, or
	// none, is not the one that holds the volumes. Empty where no agent has served yet.
	ServerID string `json:"serverID,omitempty"`
	// LeaseSeconds is the NFSv4 lease (RFC 8881, section 8.3): a client silent for longer loses its locks.
	LeaseSeconds int32 `json:"leaseSeconds,omitempty"`
	// GraceSeconds is the longest time after a start in which only reclaims are answered (RFC 8881, section 8.4.2).
	GraceSeconds int32 `json:"graceSeconds,omitempty"`
	// OvercommitPercent is how much of the disk may be promised, in per cent; 100 is no over-commit.
	OvercommitPercent int32 `json:"overcommitPercent,omitempty"`
	// SilenceSeconds is how long a node must have been silent before it counts as dead; 0 is access.Patience, and what the manager writes.
	SilenceSeconds int32 `json:"silenceSeconds,omitempty"`
}

// Load reads and checks the file. A field that it does not know is an error: a configuration written by a newer
// manager must not be half understood.
func Load(file string) (Config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return Config{}, err
	}
	var c Config
	if err := yaml.UnmarshalStrict(text, &c); err != nil {
		return Config{}, fmt.Errorf("parse %s: %w", file, err)
	}
	if err := c.validate(); err != nil {
		return Config{}, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// Marshal renders the configuration for Load.
func (c Config) Marshal() ([]byte, error) { return yaml.Marshal(c) }

func (c Config) validate() error {
	switch {
	case c.Backend == "":
		return errors.New("backend is empty")
	case c.Shard < 0:
		return errors.New("shard is negative")
	case c.DataDir == "":
		return errors.New("dataDir is empty")
	case c.External != nil:
		return c.External.validate()
	case c.LeaseSeconds < 10 || c.LeaseSeconds > 60:
		return fmt.Errorf("leaseSeconds is %d, must be 10..60", c.LeaseSeconds)
	case c.GraceSeconds < 15 || c.GraceSeconds > 90:
		return fmt.Errorf("graceSeconds is %d, must be 15..90", c.GraceSeconds)
	case c.SilenceSeconds < 0:
		return fmt.Errorf("silenceSeconds is %d, must not be negative", c.SilenceSeconds)
	case c.OvercommitPercent < 100:
		return fmt.Errorf("overcommitPercent is %d, must be at least 100", c.OvercommitPercent)
	}
	return nil
}
