package engine

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Repair makes the disk agree with the records after a crash. Nothing may be exported yet. What was being made is rolled back: it was
// never acknowledged. What was being deleted is finished. Limits are set as the records say. A volume whose data is missing is
// reported and left alone. So is an object that cannot be repaired (Unrepaired): the others are served.
func (e *Engine) Repair() error {
	if err := e.clearTmp(); err != nil {
		return err
	}
	var unrepaired int64
	for _, v := range e.Store.Volumes() {
		if err := e.repairVolume(v); err != nil {
			e.Log.Error(err, "Cannot repair a volume, leaving it alone", "volume", v.ID, "name", v.Name, "state", v.State)
			unrepaired++
		}
	}
	for _, s := range e.Store.Snapshots() {
		if err := e.repairSnapshot(s); err != nil {
			e.Log.Error(err, "Cannot repair a snapshot, leaving it alone", "snapshot", s.ID, "name", s.Name, "state", s.State)
			unrepaired++
		}
	}
	e.unrepaired.Store(unrepaired)
	if err := e.Store.RepairClaims(); err != nil { // for people only
		e.Log.Error(err, "Cannot repair the links by claim")
	}
	return e.reportOrphans()
}

// Unrepaired is how many volumes and snapshots the last Repair had to leave alone.
func (e *Engine) Unrepaired() int { return int(e.unrepaired.Load()) }

func (e *Engine) repairVolume(v store.Volume) error {
	switch v.State {
	case store.StateCreating:
		e.Log.Info("Rolling back a volume that was being made", "volume", v.ID, "name", v.Name)
		if err := e.discard(e.Store.VolumeDir(v.ID), e.Store.TrashDir(v.Discarded())); err != nil {
			return err
		}
		if err := e.Filesystem.SetLimits(v.ProjectID, 0, 0); err != nil { // there may be no directory yet whose removal would do it
			return err
		}
		return e.Store.RemoveVolume(v.ID)
	case store.StateDeleting:
		e.Log.Info("Finishing a delete", "volume", v.ID, "name", v.Name)
		return e.finishDelete(v)
	default:
		return e.checkVolume(v)
	}
}

// finishReattach moves the data of a volume that was on its way back from the archive: its record there goes last.
func (e *Engine) finishReattach(v store.Volume) error {
	if _, err := e.Store.ArchivedRecord(v.Discarded()); err != nil {
		return nil //nolint:nilerr // nothing to do
	}
	e.Log.Info("Finishing the return of a volume from the archive", "volume", v.ID, "name", v.Name)
	return e.fetchArchived(v)
}

func (e *Engine) checkVolume(v store.Volume) error {
	if err := e.finishReattach(v); err != nil {
		return err
	}
	if _, err := os.Lstat(e.Store.VolumeDir(v.ID)); err != nil {
		e.Log.Error(err, "The data of a volume is missing", "volume", v.ID, "name", v.Name)
		return nil
	}
	if e.Missing.Quota {
		return nil
	}
	q, err := e.Filesystem.Quota(v.ProjectID)
	if err != nil {
		return err
	}
	inodes := v.Spec.InodeLimit()
	if q.LimitBytes == v.Spec.Bytes && q.LimitInodes == inodes {
		return nil
	}
	e.Log.Info("Setting a volume's limits anew", "volume", v.ID, "hadBytes", q.LimitBytes, "bytes", v.Spec.Bytes)
	return e.Filesystem.SetLimits(v.ProjectID, v.Spec.Bytes, inodes)
}

// clearTmp moves what was being built to the trash. Its project is read from the record, which is still there; without one
// there is nothing that was charged.
func (e *Engine) clearTmp() error {
	dir := filepath.Dir(e.Store.TmpDir(store.KindVolume, ""))
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	projects := map[string]store.Discarded{}
	for _, v := range e.Store.Volumes() {
		projects[filepath.Base(e.Store.TmpDir(store.KindVolume, v.ID))] = v.Discarded()
	}
	for _, s := range e.Store.Snapshots() {
		projects[filepath.Base(e.Store.TmpDir(store.KindSnapshot, s.ID))] = s.Discarded()
	}
	for _, entry := range entries {
		from := filepath.Join(dir, entry.Name())
		if d, ok := projects[entry.Name()]; ok {
			err = e.discard(from, e.Store.TrashDir(d))
		} else {
			err = os.Remove(from)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			e.Log.Error(err, "Cannot clear a left-over directory", "path", from)
		}
	}
	return nil
}

// reportOrphans reports directories without a record: nothing is removed.
func (e *Engine) reportOrphans() error {
	orphans, err := e.orphans()
	for _, name := range orphans {
		e.Log.Info("A directory among the volumes has no record", "name", name)
	}
	return err
}

// orphans are directories among the volumes without a record. They may be what an administrator put there, or the data of a record that
// was lost. A volume's record is there before its directory, and after it.
func (e *Engine) orphans() (names []string, err error) {
	entries, err := os.ReadDir(filepath.Dir(e.Store.VolumeDir("x")))
	for _, entry := range entries {
		name := entry.Name()
		if _, ok := e.Store.Volume(name); ok {
			continue
		}
		if _, err := os.Lstat(e.Store.VolumeDir(name)); !errors.Is(err, os.ErrNotExist) { // else it was deleted meanwhile
			names = append(names, name)
		}
	}
	return names, err
}
