package store

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
)

// ErrForeign means that the file system holds something that is not ours.
var ErrForeign = errors.New("file system holds data of something else")

// Store keeps all records in memory and on the disk; what a method has returned without error is durable. It is safe
// for concurrent use, but orders nothing: two writers of one record must be kept apart by their callers.
type Store struct {
	Layout

	// saving is held by who changes the record of the server, or hands out ids, until the disk has it. mu never waits for the disk: who
	// only wants to know what is there is answered while the disk hangs.
	saving sync.Mutex
	ids    counters

	mu        sync.RWMutex
	server    Server
	volumes   map[string]Volume
	exported  map[uint16]bool // export ids of volumes
	snapshots map[string]Snapshot
	nodes     map[string]Node
	exports   map[string]Export
}

// Init says how a disk begins that holds no record yet.
type Init struct {
	ServerID     string // a random one is made where it is empty
	FilesystemID string // UUID
	MkfsOptions  string
	Owner        string // of an external server's share; empty for a disk
}

// Open reads the disk that is mounted on root, and makes the layout on a new one. It returns ErrNewerFormat and
// ErrForeign for disks that it must not touch.
func Open(root string, first Init) (*Store, error) {
	s := &Store{Layout: Layout{Root: root}}
	text, err := os.ReadFile(s.ServerRecord())
	switch {
	case errors.Is(err, os.ErrNotExist):
		err = s.initialize(first)
	case err == nil:
		s.server, err = decodeServer(text)
	}
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := s.makeDirectories(); err != nil {
		return nil, err
	}
	removeLeftOvers(s.Meta())
	removeLeftOvers(s.Archive())
	if s.volumes, err = s.readVolumes(); err != nil {
		return nil, err
	}
	if s.snapshots, err = readAll(s.snapshotRecords(), decodeSnapshot); err != nil {
		return nil, err
	}
	if s.nodes, err = readAll(s.nodeRecords(), decodeNode); err != nil {
		return nil, err
	}
	s.exported = make(map[uint16]bool, len(s.volumes))
	for _, v := range s.volumes {
		s.exported[v.ExportID] = true
	}
	if s.exports, err = readAll(s.exportRecords(), decodeExport); err != nil {
		return nil, err
	}
	s.ids = newCounters(s.server)
	return s, nil
}

// neverMade are directories that lie in what is empty: mkfs makes them, or an NFS server shows them.
var neverMade = map[string]bool{"lost+found": true, ".snapshot": true}

// checkEmpty returns ErrForeign where something of somebody else lies.
func checkEmpty(root string) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != metaDir && !neverMade[e.Name()] {
			return fmt.Errorf("%w: %q", ErrForeign, e.Name())
		}
	}
	return nil
}

func (s *Store) initialize(first Init) error {
	if err := checkEmpty(s.Root); err != nil {
		return err
	}
	id := first.ServerID
	if id == "" {
		var random [serverIDBytes]byte
		if _, err := rand.Read(random[:]); err != nil {
			return fmt.Errorf("make server id: %w", err)
		}
		id = encodeServerID(random)
	}
	s.server = Server{
		FormatVersion: FormatVersion,
		ServerID:      id,
		FilesystemID:  first.FilesystemID,
		MkfsOptions:   first.MkfsOptions,
		Owner:         first.Owner,
		NextExportID:  1,
		NextProjectID: 1,
	}
	if err := os.MkdirAll(s.Meta(), metaPerm); err != nil {
		return err
	}
	return s.write(s.ServerRecord(), s.server)
}

func (s *Store) makeDirectories() error {
	dirs := s.directories()
	for _, dir := range slices.Sorted(maps.Keys(dirs)) { // sorted: parents first
		mode := os.FileMode(dirs[dir])
		if err := os.MkdirAll(dir, mode); err != nil {
			return fmt.Errorf("make layout: %w", err)
		}
		if err := os.Chmod(dir, mode); err != nil {
			return fmt.Errorf("make layout: %w", err)
		}
	}
	return nil
}

// Server is the record of the disk as a whole.
func (s *Store) Server() Server {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.server
}

// SetProbeHandle records the file handle that clients of this disk may rely on.
func (s *Store) SetProbeHandle(handle string) error {
	s.saving.Lock()
	defer s.saving.Unlock()
	server := s.Server()
	server.ProbeHandle = handle
	return s.saveServer(server)
}

// saveServer replaces the record of the disk as a whole; the caller holds saving.
func (s *Store) saveServer(server Server) error {
	if err := s.write(s.ServerRecord(), server); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = server
	return nil
}

// Snapshot finds a record by id.
func (s *Store) Snapshot(id string) (Snapshot, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	snap, ok := s.snapshots[id]
	return snap, ok
}

// Snapshots lists all records in order of their ids.
func (s *Store) Snapshots() []Snapshot {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.snapshots)
}

// PutSnapshot writes a record.
func (s *Store) PutSnapshot(snap Snapshot) error {
	if !ValidID(snap.ID) {
		return fmt.Errorf("snapshot id %q", snap.ID)
	}
	if err := s.write(s.snapshotFile(snap.ID), snap); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.snapshots[snap.ID] = snap
	return nil
}

// RemoveSnapshot forgets a record.
func (s *Store) RemoveSnapshot(id string) error {
	if !ValidID(id) {
		return fmt.Errorf("snapshot id %q", id)
	}
	if err := remove(s.snapshotFile(id)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.snapshots, id)
	return nil
}

// Nodes lists the nodes that have announced themselves, in order of their names. The grants are shared: do not change them.
func (s *Store) Nodes() []Node {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.nodes)
}

// PutNode writes a record. The store keeps n.Grants: the caller must not change it afterwards.
func (s *Store) PutNode(n Node) error {
	if !ValidDNSName(n.Name) {
		return fmt.Errorf("node name %q", n.Name)
	}
	if err := s.write(s.nodeFile(n.Name), n); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nodes[n.Name] = n
	return nil
}

// sorted lists a map's values in the order of its keys.
func sorted[T any](m map[string]T) []T {
	values := make([]T, 0, len(m))
	for _, key := range slices.Sorted(maps.Keys(m)) {
		values = append(values, m[key])
	}
	return values
}

// Rename moves a tree from one of the layout's places to another, for good. That it has been moved already is fine.
func (s *Store) Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		if _, there := os.Lstat(to); errors.Is(err, os.ErrNotExist) && there == nil {
			return nil
		}
		return err
	}
	if err := syncDir(filepath.Dir(from)); err != nil {
		return err
	}
	return syncDir(filepath.Dir(to))
}
