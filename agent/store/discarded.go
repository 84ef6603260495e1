package store

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Discarded is a deleted volume or snapshot in the trash or the archive. Its directory's name says all that is still
// needed: a volume's id comes again when its name does, its project id never, and its export id must not be given away
// as long as handles with it still find data.
type Discarded struct {
	ID        string
	ProjectID uint32
	ExportID  uint16 // 0 for a snapshot
}

func (d Discarded) String() string { return fmt.Sprintf("%s.%d.%d", d.ID, d.ProjectID, d.ExportID) }

// ParseDiscarded reads what String wrote, and nothing else.
func ParseDiscarded(s string) (Discarded, bool) {
	parts := strings.Split(s, ".")
	if len(parts) != 3 || !ValidID(parts[0]) {
		return Discarded{}, false
	}
	project, err := strconv.ParseUint(parts[1], 10, 32)
	if err != nil || project == 0 {
		return Discarded{}, false
	}
	export, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil {
		return Discarded{}, false
	}
	d := Discarded{ID: parts[0], ProjectID: uint32(project), ExportID: uint16(export)}
	return d, d.String() == s
}

// Discarded of a volume.
func (v Volume) Discarded() Discarded {
	return Discarded{ID: v.ID, ProjectID: v.ProjectID, ExportID: v.ExportID}
}

// Discarded of a snapshot.
func (s Snapshot) Discarded() Discarded { return Discarded{ID: s.ID, ProjectID: s.ProjectID} }

// ListTrash lists what is still to be emptied.
func (s *Store) ListTrash() ([]Discarded, error) { return listDiscarded(s.Trash()) }

// ListArchive lists the archived volumes.
func (s *Store) ListArchive() ([]Discarded, error) { return listDiscarded(s.Archive()) }

func listDiscarded(dir string) ([]Discarded, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var found []Discarded
	for _, e := range entries {
		if d, ok := ParseDiscarded(e.Name()); ok && e.IsDir() {
			found = append(found, d)
		}
	}
	return found, nil
}
