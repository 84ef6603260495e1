package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/nfs-operator/nfs-operator/agent/config"
)

// exportPrefix begins the id by which nodes and clients know a static export. No volume's id contains a hyphen.
const exportPrefix = "e-"

// StaticID is the id of a static export: what grants and handles call it, and the directory that clients mount.
func StaticID(name string) string { return exportPrefix + name }

// ValidStaticID tells whether s can be the id of a static export.
func ValidStaticID(s string) bool {
	name, ok := strings.CutPrefix(s, exportPrefix)
	return ok && config.ValidExportName(name)
}

// Export is what the disk keeps of a static export: the numbers that are part of its clients' file handles. The record outlives the
// export, so that one that is taken away and put back is the same for its clients.
type Export struct {
	Name      string `json:"name"`
	Path      string `json:"path"`  // below exports/
	Bytes     int64  `json:"bytes"` // set aside for it; 0 when it is not exported
	ExportID  uint16 `json:"exportID"`
	ProjectID uint32 `json:"projectID"`
}

func (l Layout) exportRecords() string         { return l.Meta("exports") }
func (l Layout) exportFile(name string) string { return filepath.Join(l.exportRecords(), name+jsonExt) }

// StaticRoot is the directory below which all static exports lie.
func (l Layout) StaticRoot() string { return filepath.Join(l.Root, "exports") }

// Exports lists all records, also of exports that are no longer served, in order of their names.
func (s *Store) Exports() []Export {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.exports)
}

// Export finds a record by name.
func (s *Store) Export(name string) (Export, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	x, ok := s.exports[name]
	return x, ok
}

// PutExport writes a record.
func (s *Store) PutExport(x Export) error {
	if !ValidStaticID(StaticID(x.Name)) {
		return fmt.Errorf("export name %q", x.Name)
	}
	if err := s.write(s.exportFile(x.Name), x); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.exports[x.Name] = x
	return nil
}

// RemoveExport forgets a record.
func (s *Store) RemoveExport(name string) error {
	if !ValidStaticID(StaticID(name)) {
		return fmt.Errorf("export name %q", name)
	}
	if err := remove(s.exportFile(name)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.exports, name)
	return nil
}

func (l Layout) exportsConfig() string { return l.Meta("exports.yaml") }

// KeepExportsConfig keeps the configuration of the exports for a start at which it cannot be read.
func (s *Store) KeepExportsConfig(text []byte) error {
	if err := s.withBallast(func() error { return replaceFile(s.exportsConfig(), text) }); err != nil {
		return fmt.Errorf("keep configuration of exports: %w", err)
	}
	return nil
}

// ExportsConfig is what was kept last; empty when nothing was.
func (s *Store) ExportsConfig() ([]byte, error) {
	text, err := os.ReadFile(s.exportsConfig())
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	return text, err
}

func decodeExport(name string, text []byte) (Export, error) {
	var x Export
	if err := json.Unmarshal(text, &x); err != nil {
		return Export{}, err
	}
	switch {
	case x.Name != name || !ValidStaticID(StaticID(name)):
		return Export{}, fmt.Errorf("record says export %q", x.Name)
	case x.ExportID == 0 || x.ProjectID == 0:
		return Export{}, errors.New("export or project id is 0")
	case !filepath.IsLocal(x.Path) || strings.ContainsAny(x.Path, "\x00\n\"'\\"):
		return Export{}, fmt.Errorf("record says path %q", x.Path)
	}
	return x, nil
}
