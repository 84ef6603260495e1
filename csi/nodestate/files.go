package nodestate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/renameio/v2"

	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	volumePrefix   = "volume."
	serverPrefix   = "server."
	generationFile = "generation"
	// unreadableDir holds what could not be read, for people.
	unreadableDir = "unreadable"
	// version of a volume's record. A program reads those of its own version and older ones.
	version = 1
)

// volumeFile is a volume's record as it is written.
type volumeFile struct {
	Version int `json:"version"`
	Volume
}

var (
	errVersion = errors.New("the record is of a newer version of the program")
	errName    = errors.New("the record is of another volume than its name says")
)

// Open reads the directory, which is made where it is missing. A file that cannot be read is put aside: the caller must
// then call Recover, which finds mounted volumes without it, before it tells an agent anything. To forget a volume
// would be to close it under its pods.
func Open(dir, bootID string, now time.Time) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, bootID: bootID, volumes: map[string]Volume{}, servers: map[volumeid.Shard]server{}}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if e.IsDir() {
			continue
		}
		if err := s.load(e.Name()); err != nil {
			if err := s.putAside(e.Name(), err); err != nil {
				return nil, err
			}
		}
	}
	// The clock is for a directory that was lost with the node's disk, the file for a clock that was set back. In microseconds, so that
	// what each start reserves does not run ahead of the clock: then a directory that is lost would begin below what agents know.
	s.generation = max(s.reserved, now.UnixMicro())
	s.reserved = s.generation
	return s, nil
}

// Unreadable says which files could not be read, and why.
func (s *Store) Unreadable() []string { return s.unreadable }

func (s *Store) putAside(name string, cause error) error {
	s.unreadable = append(s.unreadable, fmt.Sprintf("%s: %v", name, cause))
	if shard, err := volumeid.ParseShard(decode(strings.TrimPrefix(name, serverPrefix))); err == nil {
		s.servers[shard] = server{Open: true} // its agent is told what is the case
	}
	aside := filepath.Join(s.dir, unreadableDir)
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return err
	}
	return os.Rename(filepath.Join(s.dir, name), filepath.Join(aside, name))
}

func (s *Store) load(name string) error {
	path := filepath.Join(s.dir, name)
	if strings.HasPrefix(name, ".") { // a temporary file of a process that was killed
		return os.Remove(path)
	}
	text, err := os.ReadFile(path)
	switch {
	case err != nil:
		return err
	case name == generationFile:
		return json.Unmarshal(text, &s.reserved)
	case strings.HasPrefix(name, volumePrefix):
		return s.loadVolume(name, text)
	case strings.HasPrefix(name, serverPrefix):
		return s.loadServer(name, text)
	}
	return nil
}

func (s *Store) loadVolume(name string, text []byte) error {
	var v volumeFile
	if err := json.Unmarshal(text, &v); err != nil {
		return err
	}
	if v.Version > version {
		return errVersion
	}
	if _, err := volumeid.ParseVolume(v.Handle); err != nil {
		return err
	}
	if name != volumePrefix+encode(v.Handle) {
		return errName
	}
	s.volumes[v.Handle] = v.Volume
	// A process may have been killed before it wrote the server's file.
	shard := v.Shard()
	sv := s.servers[shard]
	sv.Open = true
	s.servers[shard] = sv
	return nil
}

func (s *Store) loadServer(name string, text []byte) error {
	shard, err := volumeid.ParseShard(decode(strings.TrimPrefix(name, serverPrefix)))
	if err != nil {
		return err
	}
	var sv server
	if err := json.Unmarshal(text, &sv); err != nil {
		return err
	}
	sv.Open = sv.Open || s.servers[shard].Open
	s.servers[shard] = sv
	return nil
}

func (s *Store) writeVolume(v Volume) error {
	return s.write(volumePrefix+encode(v.Handle), volumeFile{Version: version, Volume: v})
}

func (s *Store) write(name string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	if err := renameio.WriteFile(filepath.Join(s.dir, name), text, 0o600); err != nil {
		return fmt.Errorf("write state: %w", err)
	}
	return nil
}

func (s *Store) remove(name string) error {
	if err := os.Remove(filepath.Join(s.dir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove state: %w", err)
	}
	return nil
}

// A handle's slashes become dots in a file's name; a handle has none of its own.
func encode(handle string) string { return strings.ReplaceAll(handle, "/", ".") }
func decode(name string) string   { return strings.ReplaceAll(name, ".", "/") }

// Generation is the last that was given out.
func (s *Store) Generation() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.generation
}
