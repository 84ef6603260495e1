package config

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// Exports is what an agent serves beside its volumes, and to whom it serves those. It lies in a file of its own, which is read
// again whenever it changes: no export is worth a restart.
type Exports struct {
	// AccessCIDRs, when there are any, admit all their clients to every volume. Without, only nodes with a grant are admitted.
	AccessCIDRs []netip.Prefix `json:"accessCIDRs,omitempty"`
	// Exports are static shared directories.
	Exports []StaticExport `json:"exports,omitempty"`
}

// Squash says whose user ids are replaced by the anonymous ones.
type Squash string

const (
	SquashNone Squash = "None" // nobody's
	SquashRoot Squash = "Root" // root's
	SquashAll  Squash = "All"  // everybody's
)

// StaticExport is a shared directory that is no volume.
type StaticExport struct {
	// Name is a DNS label.
	Name string `json:"name"`
	// Path of the directory below exports/ on the disk.
	Path string `json:"path"`
	// Bytes is its enforced size.
	Bytes        int64          `json:"bytes"`
	Clients      []ExportClient `json:"clients,omitempty"`
	Squash       Squash         `json:"squash"`
	AnonymousUID uint32         `json:"anonymousUID"`
	AnonymousGID uint32         `json:"anonymousGID"`
}

// ExportClient is a network that may use an export.
type ExportClient struct {
	CIDR     netip.Prefix `json:"cidr"`
	ReadOnly bool         `json:"readOnly,omitempty"`
}

// The same bounds as in the API: the file may have been written by hand.
const (
	maxExports      = 64
	maxCIDRs        = 32
	maxExportPath   = 255
	maxExportsBytes = 1 << 20
)

var (
	exportName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)
	exportPath = regexp.MustCompile(`^[a-z0-9A-Z_][-a-z0-9A-Z_.]*(/[a-z0-9A-Z_][-a-z0-9A-Z_.]*){0,7}$`)
)

// ValidExportName tells whether s can be the name of a static export.
func ValidExportName(s string) bool { return exportName.MatchString(s) }

// ParseExports reads what Marshal writes. A field that it does not know is an error, as in Load.
func ParseExports(text []byte) (Exports, error) {
	if len(text) > maxExportsBytes {
		return Exports{}, fmt.Errorf("the exports have %d bytes, at most %d are read", len(text), maxExportsBytes)
	}
	var e Exports
	if err := yaml.UnmarshalStrict(text, &e); err != nil {
		return Exports{}, fmt.Errorf("parse: %w", err)
	}
	return e, e.validate()
}

// Marshal renders the exports for ParseExports.
func (e Exports) Marshal() ([]byte, error) { return yaml.Marshal(e) }

func (e Exports) validate() error {
	if len(e.Exports) > maxExports || len(e.AccessCIDRs) > maxCIDRs {
		return fmt.Errorf("%d exports and %d accessCIDRs, at most %d and %d are allowed", len(e.Exports), len(e.AccessCIDRs), maxExports, maxCIDRs)
	}
	for _, p := range e.AccessCIDRs {
		if err := checkPrefix(p); err != nil {
			return fmt.Errorf("accessCIDRs: %w", err)
		}
	}
	for i, x := range e.Exports {
		if err := x.validate(); err != nil {
			return fmt.Errorf("export %.60q: %w", x.Name, err)
		}
		for _, other := range e.Exports[:i] {
			if other.Name == x.Name {
				return fmt.Errorf("export %q is there twice", x.Name)
			}
			if strings.HasPrefix(x.Path+"/", other.Path+"/") || strings.HasPrefix(other.Path+"/", x.Path+"/") {
				return fmt.Errorf("path %q of export %q lies within %q of export %q, or the other way round", x.Path, x.Name, other.Path, other.Name)
			}
		}
	}
	return nil
}

func (x StaticExport) validate() error {
	switch {
	case !ValidExportName(x.Name):
		return errors.New("name must be a DNS label of at most 40 characters")
	case len(x.Path) > maxExportPath || !exportPath.MatchString(x.Path) || !filepath.IsLocal(x.Path):
		return fmt.Errorf("path %.60q must be names of letters, digits, '.', '-' and '_' with '/' between them", x.Path)
	case x.Bytes <= 0:
		return fmt.Errorf("size is %d bytes", x.Bytes)
	case len(x.Clients) > maxCIDRs:
		return fmt.Errorf("%d clients, at most %d are allowed", len(x.Clients), maxCIDRs)
	}
	switch x.Squash {
	case SquashNone, SquashRoot, SquashAll:
	default:
		return fmt.Errorf("squash is %.60q, must be None, Root or All", x.Squash)
	}
	seen := map[netip.Prefix]bool{}
	for _, c := range x.Clients {
		if err := checkPrefix(c.CIDR); err != nil {
			return err
		}
		if seen[c.CIDR.Masked()] {
			return fmt.Errorf("client %s is there twice", c.CIDR.Masked())
		}
		seen[c.CIDR.Masked()] = true
	}
	return nil
}

// checkPrefix refuses what Ganesha would understand in another way, or not at all.
func checkPrefix(p netip.Prefix) error {
	if !p.IsValid() || p.Addr().Is4In6() || p.Addr().Zone() != "" {
		return fmt.Errorf("%q is no network such as 10.0.0.0/8 or fd00::/48", p)
	}
	return nil
}
