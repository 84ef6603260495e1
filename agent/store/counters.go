package store

import "errors"

// ErrNoExportID means that every export id is in use.
var ErrNoExportID = errors.New("no export id is free")

// reserve is how many ids are taken from the disk's counters at once, so that few creates wait for that file. After a crash the rest of
// a batch is skipped.
const reserve = 256

// counters hand out ids below a mark that lies on the disk, so that an id once used never comes again: not even when the
// newest volume was deleted before a crash. Export ids (16 bit) start anew at 1 when they are used up, project ids never.
type counters struct {
	export, exportEnd   uint32 // next to hand out; end of the batch. They count up to 65536, the disk's record wraps.
	project, projectEnd uint32
}

func newCounters(s Server) counters {
	return counters{
		export: uint32(s.NextExportID), exportEnd: uint32(s.NextExportID),
		project: s.NextProjectID, projectEnd: s.NextProjectID,
	}
}

const endOfExportIDs = 1 << 16

// NewProjectID takes the next project id.
func (s *Store) NewProjectID() (uint32, error) {
	s.saving.Lock()
	defer s.saving.Unlock()
	if s.ids.project == s.ids.projectEnd {
		server := s.Server()
		server.NextProjectID = s.ids.projectEnd + reserve
		if server.NextProjectID < s.ids.projectEnd {
			return 0, errors.New("project ids are used up")
		}
		if err := s.saveServer(server); err != nil {
			return 0, err
		}
		s.ids.projectEnd = server.NextProjectID
	}
	id := s.ids.project
	s.ids.project++
	return id, nil
}

// NewVolumeIDs takes the next project id and the next export id that nothing holds.
func (s *Store) NewVolumeIDs() (projectID uint32, exportID uint16, err error) {
	if exportID, err = s.NewExportID(); err != nil {
		return 0, 0, err
	}
	projectID, err = s.NewProjectID()
	return projectID, exportID, err
}

// NewExportID takes the next export id that no volume, static export, trash or archive holds.
func (s *Store) NewExportID() (uint16, error) {
	used, err := s.discardedExports()
	if err != nil {
		return 0, err
	}
	s.saving.Lock()
	defer s.saving.Unlock()
	for _, x := range s.Exports() {
		used[x.ExportID] = true
	}
	return s.newExportID(used)
}

func (s *Store) newExportID(used map[uint16]bool) (uint16, error) {
	for range endOfExportIDs + reserve {
		if s.ids.export == s.ids.exportEnd {
			if err := s.extendExportIDs(); err != nil {
				return 0, err
			}
		}
		id := uint16(s.ids.export)
		s.ids.export++
		if !used[id] && !s.isExported(id) {
			return id, nil
		}
	}
	return 0, ErrNoExportID
}

func (s *Store) isExported(id uint16) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.exported[id]
}

func (s *Store) extendExportIDs() error {
	start := s.ids.exportEnd
	if start == endOfExportIDs {
		start = 1 // 0 is the pseudo file system's
	}
	end := min(start+reserve, endOfExportIDs)
	server := s.Server()
	server.NextExportID = uint16(end)
	if end == endOfExportIDs {
		server.NextExportID = 1
	}
	if err := s.saveServer(server); err != nil {
		return err
	}
	s.ids.export, s.ids.exportEnd = start, end
	return nil
}

// discardedExports are export ids that old handles may still carry.
func (s *Store) discardedExports() (map[uint16]bool, error) {
	used := map[uint16]bool{}
	for _, list := range []func() ([]Discarded, error){s.ListTrash, s.ListArchive} {
		all, err := list()
		if err != nil {
			return nil, err
		}
		for _, d := range all {
			used[d.ExportID] = true
		}
	}
	return used, nil
}
