// Package store is what the data disk says about itself: the records of volumes, snapshots and nodes, the counters for
// ids, and where everything lies. It knows files and nothing of quotas, mounts or NFS.
package store

import (
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strings"
)

const idLength = 16

var validID = regexp.MustCompile(`^[a-z2-7]{16}$`)

// ID is the id of a volume or snapshot: the start of the lower-case base32 of the name's SHA-256. The same name always
// gives the same id, so that a call that is repeated finds what it made before; and no name is ever a path.
func ID(name string) string {
	sum := sha256.Sum256([]byte(name))
	text := base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	return strings.ToLower(text[:idLength])
}

// ValidID tells whether s can be an id. Whatever comes in from outside is checked by it before it becomes a file name.
func ValidID(s string) bool { return validID.MatchString(s) }

// A DNS subdomain (RFC 1123), as Kubernetes wants the names of nodes, namespaces and claims.
var dnsSubdomain = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$`)

const maxSubdomain = 253

// ValidDNSName tells whether s is a DNS subdomain. Only such names become file names (node records, links by claim).
func ValidDNSName(s string) bool { return len(s) <= maxSubdomain && dnsSubdomain.MatchString(s) }
