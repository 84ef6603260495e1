package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// State is how far a volume's or snapshot's life has come.
type State string

const (
	// StateCreating is before the first acknowledgement: a start of the agent rolls such objects back.
	StateCreating State = "creating"
	// StateReady is in service.
	StateReady State = "ready"
	// StateDeleting is after the decision to delete: a start of the agent finishes it.
	StateDeleting State = "deleting"
	// StateRetained is a deleted volume whose data stays where they are, exported no more.
	StateRetained State = "retained"
)

// Squash says whose user ids are replaced by the anonymous ones.
type Squash string

// OnDelete says what becomes of a deleted volume's data.
type OnDelete string

const (
	SquashNone Squash = "None"
	SquashRoot Squash = "Root"
	SquashAll  Squash = "All"

	OnDeleteDelete  OnDelete = "Delete"
	OnDeleteArchive OnDelete = "Archive"
	OnDeleteRetain  OnDelete = "Retain"
)

// Spec is what was asked for: when the volume was made, and by expansion and modification since.
type Spec struct {
	Bytes          int64    `json:"bytes"`            // enforced size
	Inodes         int64    `json:"inodes,omitempty"` // enforced number of files; 0 is the usual one for the size
	Mode           uint32   `json:"mode"`             // of the root directory: permission bits, setuid, setgid, sticky
	UID            uint32   `json:"uid"`
	GID            uint32   `json:"gid"`
	Squash         Squash   `json:"squash"`
	AnonymousUID   uint32   `json:"anonymousUID"`
	AnonymousGID   uint32   `json:"anonymousGID"`
	OnDelete       OnDelete `json:"onDelete"`
	Profile        string   `json:"profile,omitempty"`
	MaxBytes       int64    `json:"maxBytes,omitempty"` // 0 is no limit
	ClaimNamespace string   `json:"claimNamespace,omitempty"`
	ClaimName      string   `json:"claimName,omitempty"`
}

// Volume is a volume's record.
type Volume struct {
	ID             string    `json:"id"`
	Name           string    `json:"name"` // the CSI name
	Spec           Spec      `json:"spec"`
	ExportID       uint16    `json:"exportID"`  // part of every NFS file handle of the volume
	ProjectID      uint32    `json:"projectID"` // of the XFS project quota, and of the NFS file system id
	State          State     `json:"state"`
	Created        time.Time `json:"created"`
	SourceVolume   string    `json:"sourceVolume,omitempty"`
	SourceSnapshot string    `json:"sourceSnapshot,omitempty"`
	// Provisional is whether nobody may know of the volume: no PersistentVolume of it has been seen, and no node has ever
	// staged it. Records of versions that did not know this are not provisional.
	Provisional bool `json:"provisional,omitempty"`
	// Asked is about when CreateVolume last answered with it, while it is provisional.
	Asked time.Time `json:"asked,omitzero"`
}

// Copied tells whether the volume begins as a copy.
func (v Volume) Copied() bool { return v.SourceVolume != "" || v.SourceSnapshot != "" }

// Snapshot is a snapshot's record.
type Snapshot struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"` // the CSI name
	SourceVolume string    `json:"sourceVolume"`
	Bytes        int64     `json:"bytes"`                 // size of the source when it was taken: the least that it can be restored to
	NeededBytes  int64     `json:"neededBytes,omitempty"` // set aside until it is ready: what the source took when it was begun
	ProjectID    uint32    `json:"projectID"`
	State        State     `json:"state"`
	Created      time.Time `json:"created"`
	// Consistency is PerFile: each file is as it was at one moment, two files need not be of the same moment.
	Consistency string `json:"consistency,omitempty"`
}

// PerFile is how consistent a snapshot is.
const PerFile = "PerFile"

// Grant is one node's right to use one volume.
type Grant struct {
	Generation int64 `json:"generation"`
	ReadOnly   bool  `json:"readOnly,omitempty"`
	SingleNode bool  `json:"singleNode,omitempty"`
	// PrivilegedPort admits privileged ports only: the node was told to mount from one.
	PrivilegedPort bool `json:"privilegedPort,omitempty"`
}

// Node is what one node has announced. All its grants lie in one file: when its addresses change, one fsync does for
// thousands of volumes.
type Node struct {
	Name        string           `json:"node"`
	BootID      string           `json:"bootID"`
	Addresses   []string         `json:"addresses"`   // of the node's interfaces, as it says
	SeenAddress string           `json:"seenAddress"` // where its control connection comes from
	Generation  int64            `json:"generation"`  // of the last announcement
	Grants      map[string]Grant `json:"grants,omitempty"`
	Gone        bool             `json:"gone,omitempty"` // the cluster has no such node any more: it is refused
}

// FormatVersion is the version of the layout that this program reads and writes.
const FormatVersion = 1

// ErrNewerFormat means that a newer version of this program has written the disk.
var ErrNewerFormat = errors.New("disk was written by a newer version")

// Server is the record of the disk as a whole.
type Server struct {
	FormatVersion int    `json:"formatVersion"`
	ServerID      string `json:"serverID"`              // NFS server owner and scope: clients know the server by it
	FilesystemID  string `json:"filesystemID"`          // UUID of the file system, part of every file handle
	MkfsOptions   string `json:"mkfsOptions"`           // name of the option set that the disk was formatted with
	ProbeHandle   string `json:"probeHandle,omitempty"` // NFS file handle of the directory of records: clients' handles are valid as long as it is
	Owner         string `json:"owner,omitempty"`       // of an external server's share: who may write to it
	NextExportID  uint16 `json:"nextExportID"`
	NextProjectID uint32 `json:"nextProjectID"`
}

func decodeServer(text []byte) (Server, error) {
	var s Server
	if err := json.Unmarshal(text, &s); err != nil {
		return Server{}, err
	}
	switch {
	case s.FormatVersion > FormatVersion:
		return Server{}, fmt.Errorf("%w: format %d, this program knows %d", ErrNewerFormat, s.FormatVersion, FormatVersion)
	case s.FormatVersion < 1 || s.ServerID == "" || s.NextExportID == 0 || s.NextProjectID == 0:
		return Server{}, errors.New("server record is incomplete")
	}
	return s, nil
}

// decodeVolume refuses a record that would lead elsewhere than its file's name says.
func decodeVolume(id string, text []byte) (Volume, error) {
	var v Volume
	if err := json.Unmarshal(text, &v); err != nil {
		return Volume{}, err
	}
	switch {
	case v.ID != id || !ValidID(v.ID):
		return Volume{}, fmt.Errorf("record says id %q", v.ID)
	case v.ExportID == 0 || v.ProjectID == 0:
		return Volume{}, errors.New("export or project id is 0")
	case v.Spec.Bytes <= 0 || v.Spec.Inodes < 0:
		return Volume{}, fmt.Errorf("size is %d bytes and %d inodes", v.Spec.Bytes, v.Spec.Inodes)
	}
	switch v.State {
	case StateCreating, StateReady, StateDeleting, StateRetained:
		return v, nil
	default:
		return Volume{}, fmt.Errorf("state is %q", v.State)
	}
}

func decodeSnapshot(id string, text []byte) (Snapshot, error) {
	var s Snapshot
	if err := json.Unmarshal(text, &s); err != nil {
		return Snapshot{}, err
	}
	switch {
	case s.ID != id || !ValidID(s.ID) || !ValidID(s.SourceVolume):
		return Snapshot{}, fmt.Errorf("record says id %q of volume %q", s.ID, s.SourceVolume)
	case s.ProjectID == 0:
		return Snapshot{}, errors.New("project id is 0")
	}
	switch s.State {
	case StateCreating, StateReady, StateDeleting:
		return s, nil
	default:
		return Snapshot{}, fmt.Errorf("state is %q", s.State)
	}
}

func decodeNode(name string, text []byte) (Node, error) {
	var n Node
	if err := json.Unmarshal(text, &n); err != nil {
		return Node{}, err
	}
	if n.Name != name || !ValidDNSName(n.Name) {
		return Node{}, fmt.Errorf("record says node %q", n.Name)
	}
	for id := range n.Grants {
		if !ValidID(id) && !ValidStaticID(id) {
			return Node{}, fmt.Errorf("grant for volume %q", id)
		}
	}
	return n, nil
}
