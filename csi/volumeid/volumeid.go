// Package volumeid reads and writes the handles by which Kubernetes knows volumes and snapshots. A handle says where
// its object lives, so nothing but the handle is needed to find it: `<backend>/<shard>/<id>` is a volume and
// `<backend>/<shard>/s-<id>` a snapshot. `<backend>/<shard>/e-<name>` is a static export, which is used like a volume.
package volumeid

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// MaxShards is the number of servers that a backend can have.
const MaxShards = 64

const (
	snapshotPrefix = "s-"
	exportPrefix   = "e-"
)

// ErrInvalid is returned for a text that is no handle of ours.
var ErrInvalid = errors.New("not a handle of " + names.Driver)

var (
	// The API server enforces the same on an NFSBackend's name.
	backendPattern = regexp.MustCompile(`^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$`)
	// Without a leading zero, so that a place has one spelling only.
	shardPattern = regexp.MustCompile(`^(0|[1-9][0-9]?)$`)
	idPattern    = regexp.MustCompile(`^[a-z2-7]{16}$`)
	// A static export of the backend: e- and its name.
	exportPattern = regexp.MustCompile(`^e-[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$`)
)

// Shard is one server of an NFSBackend.
type Shard struct {
	Backend string
	Number  int32
}

// Name is the name of the shard's Service and the DNS name in its agent's certificate.
func (s Shard) Name() string { return names.Shard(s.Backend, s.Number) }

func (s Shard) String() string { return fmt.Sprintf("%s/%d", s.Backend, s.Number) }

// Volume is the place of a volume.
type Volume struct {
	Shard Shard
	ID    string
}

// Export is the name of the static export that this is the handle of.
func (v Volume) Export() (name string, ok bool) { return strings.CutPrefix(v.ID, exportPrefix) }

func (v Volume) String() string { return v.Shard.String() + "/" + v.ID }

// Snapshot is the place of a snapshot.
type Snapshot struct {
	Shard Shard
	ID    string
}

func (s Snapshot) String() string { return s.Shard.String() + "/" + snapshotPrefix + s.ID }

// ParseVolume reads a volume's or a static export's handle.
func ParseVolume(handle string) (Volume, error) {
	shard, id, err := split(handle)
	if err != nil || !idPattern.MatchString(id) && !exportPattern.MatchString(id) {
		return Volume{}, invalid("volume", handle)
	}
	return Volume{Shard: shard, ID: id}, nil
}

// ParseSnapshot reads a snapshot's handle.
func ParseSnapshot(handle string) (Snapshot, error) {
	shard, rest, err := split(handle)
	if err != nil {
		return Snapshot{}, invalid("snapshot", handle)
	}
	id, ok := strings.CutPrefix(rest, snapshotPrefix)
	if !ok || !idPattern.MatchString(id) {
		return Snapshot{}, invalid("snapshot", handle)
	}
	return Snapshot{Shard: shard, ID: id}, nil
}

// ParseShard reads what Shard.String writes.
func ParseShard(text string) (Shard, error) {
	shard, rest, err := split(text + "/")
	if err != nil || rest != "" {
		return Shard{}, invalid("shard", text)
	}
	return shard, nil
}

func split(handle string) (Shard, string, error) {
	parts := strings.Split(handle, "/")
	if len(parts) != 3 || !backendPattern.MatchString(parts[0]) || !shardPattern.MatchString(parts[1]) {
		return Shard{}, "", ErrInvalid
	}
	number, err := strconv.ParseInt(parts[1], 10, 32)
	if err != nil || number >= MaxShards {
		return Shard{}, "", ErrInvalid
	}
	return Shard{Backend: parts[0], Number: int32(number)}, parts[2], nil
}

func invalid(what, text string) error {
	const longest = 100 // of what is repeated in a message: the text comes from whoever wrote a PersistentVolume
	if len(text) > longest {
		text = text[:longest]
	}
	return fmt.Errorf("%s %q: %w", what, text, ErrInvalid)
}
