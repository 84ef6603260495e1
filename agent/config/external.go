package config

import (
	"fmt"
	"net/netip"
	"path"
	"regexp"
	"strings"

	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// External is a directory that another NFS server exports, and in which the agent makes the volumes.
type External struct {
	// Server is its IP address or DNS name.
	Server string `json:"server"`
	// Path is what to mount below the server's address. Nodes mount directories below it.
	Path string `json:"path"`
	// MountOptions are the backend's, for the agent's mount and for those of the nodes. Load does not refuse any: the agent says what is wrong
	// with them when it mounts.
	MountOptions []string `json:"mountOptions,omitempty"`
	// ServerID is the identity that the agent of this backend has found or written on the share before. A share that has
	// another, or none, is not the one that holds the volumes. Empty where no agent has served yet.
	ServerID string `json:"serverID,omitempty"`
	// Owner is who the share belongs to: the same for ever for one NFSBackend's name in one cluster, and nobody else's. It is
	// written to the share, and a share with another owner is not touched.
	Owner string `json:"owner"`
	// TakeOver is the owner from whom the share is taken over.
	TakeOver string `json:"takeOver,omitempty"`
}

var (
	hostName  = regexp.MustCompile(`^[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?[.]?$`)
	ownerText = regexp.MustCompile(`^[!-~]{1,253}$`)
)

// Validate says whether an agent can use it. The manager asks before it gives it to one.
func (e *External) Validate() error {
	if err := e.validate(); err != nil {
		return err
	}
	if err := mount.CheckBackendOptions(e.MountOptions); err != nil {
		return fmt.Errorf("external.mountOptions: %w", err)
	}
	return nil
}

// validate leaves the mount options out.
func (e *External) validate() error {
	_, err := netip.ParseAddr(e.Server)
	switch {
	case err != nil && !hostName.MatchString(e.Server):
		return fmt.Errorf("external.server is %.255q, must be a DNS name or an IP address", e.Server)
	case !path.IsAbs(e.Path) || path.Clean(e.Path) != e.Path || strings.ContainsAny(e.Path, "\x00\n"):
		return fmt.Errorf("external.path is %.255q, must be absolute and without ., .. and empty parts", e.Path)
	case !ownerText.MatchString(e.Owner):
		return fmt.Errorf("external.owner is %.255q, must be 1 to 253 printable characters without spaces", e.Owner)
	case e.TakeOver != "" && !ownerText.MatchString(e.TakeOver):
		return fmt.Errorf("external.takeOver is %.255q, must be an owner", e.TakeOver)
	}
	return nil
}
