package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Volume finds a record by id.
func (s *Store) Volume(id string) (Volume, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.volumes[id]
	return v, ok
}

// Volumes lists all records in order of their ids.
func (s *Store) Volumes() []Volume {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return sorted(s.volumes)
}

// CountVolumes is how many records there are, in whatever state.
func (s *Store) CountVolumes() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.volumes)
}

// SumVolumes adds up something of each record, in no order: a sorted list of thousands would cost more than the rest of a call.
func (s *Store) SumVolumes(of func(Volume) int64) (sum int64) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.volumes {
		sum += of(v)
	}
	return sum
}

// PutVolume writes a record. Where only the state is new, that is one rename; a volume begins (creating) with a file that need not
// be whole until then, for nothing else is made before it is. So the way from creating to ready, and from ready to deleting, costs as
// few synchronous operations as can be.
func (s *Store) PutVolume(v Volume) error {
	if !ValidID(v.ID) {
		return fmt.Errorf("volume id %q", v.ID)
	}
	old, known := s.Volume(v.ID)
	file, oldFile := s.volumeFile(v.ID, v.State), s.volumeFile(v.ID, old.State)
	var err error
	switch {
	case !known && v.State == StateCreating:
		err = s.writeNew(file, v.content())
	case known && file != oldFile && v.content() == old.content():
		err = s.withBallast(func() error { return s.Rename(oldFile, file) })
	default:
		if err = s.write(file, v.content()); err == nil && known && file != oldFile {
			err = remove(oldFile)
		}
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.volumes[v.ID] = v
	s.exported[v.ExportID] = true
	return nil
}

// content is what the file holds. The states that pass are said by its name.
func (v Volume) content() Volume {
	if v.State != StateRetained {
		v.State = StateReady
	}
	return v
}

// RemoveVolume forgets a record.
func (s *Store) RemoveVolume(id string) error {
	if !ValidID(id) {
		return fmt.Errorf("volume id %q", id)
	}
	v, _ := s.Volume(id)
	if err := remove(s.volumeFile(id, v.State)); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.volumes, id)
	delete(s.exported, v.ExportID)
	return nil
}

// readVolumes reads all records. One that was begun, but not written to its end, is removed: nothing was made for it. Where a crash left
// two of one volume, the one with the plain name was written last.
func (s *Store) readVolumes() (map[string]Volume, error) {
	all := map[string]Volume{}
	err := readEach(s.volumeRecords(), func(file string, text func() ([]byte, error)) error {
		ext := filepath.Ext(file)
		id := strings.TrimSuffix(file, ext)
		if ext != jsonExt && ext != creatingExt && ext != deletingExt {
			return nil // not ours: an administrator's copy
		}
		t, err := text()
		if err != nil {
			return err
		}
		v, err := decodeVolume(id, t)
		if ext == creatingExt && err != nil {
			return remove(filepath.Join(s.volumeRecords(), file))
		}
		if err != nil {
			return err
		}
		switch ext {
		case creatingExt:
			v.State = StateCreating
		case deletingExt:
			v.State = StateDeleting
		}
		other, twice := all[id]
		if twice && ext != jsonExt {
			return remove(s.volumeFile(id, v.State))
		}
		all[id] = v
		if twice {
			if err := remove(s.volumeFile(id, other.State)); err != nil {
				return err
			}
		}
		// A record from before states were said by names: without its name it would not be found when it is to go.
		if plain := s.volumeFile(id, StateReady); ext == jsonExt && s.volumeFile(id, v.State) != plain {
			return s.Rename(plain, s.volumeFile(id, v.State))
		}
		return nil
	})
	return all, err
}

// ArchiveRecord writes a volume's last record beside its data in the archive: for people, and to bring it back.
func (s *Store) ArchiveRecord(v Volume) error {
	return s.write(s.archiveFile(v.Discarded()), v.content())
}

// ArchivedRecord reads it.
func (s *Store) ArchivedRecord(d Discarded) (Volume, error) {
	text, err := os.ReadFile(s.archiveFile(d))
	if err != nil {
		return Volume{}, err
	}
	v, err := decodeVolume(d.ID, text)
	if err == nil && v.Discarded() != d {
		err = fmt.Errorf("record is of %s", v.Discarded())
	}
	return v, err
}

// RemoveArchivedRecord forgets it. That it is not there is fine.
func (s *Store) RemoveArchivedRecord(d Discarded) error { return remove(s.archiveFile(d)) }
