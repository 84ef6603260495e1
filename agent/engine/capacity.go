package engine

import (
	"fmt"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// Capacity is what the disk holds and what it can still promise, in bytes.
type Capacity struct {
	Total     int64 // of the file system
	Allocated int64 // promised: volumes, snapshots, trash, archive, reserve
	Available int64 // size of the largest volume that can be made
	Used      int64 // of the file system
	Trash     int64 // what the trash takes; part of Allocated
}

// Holdings is what would be lost with the disk.
type Holdings struct {
	Volumes   int // in service, or being deleted with their data still in place
	Snapshots int
	Archived  int // data without a volume: deleted ones that are kept, in the archive or in their place, and what has lost its record
	Exports   int // static exports with something in them
}

// Holdings counts what is there.
func (e *Engine) Holdings() (Holdings, error) {
	// The records first: a delete moves from them to the archive, and may be counted twice, but is never missed.
	h := e.recorded()
	archive, err := e.Store.ListArchive()
	if err != nil {
		return Holdings{}, err
	}
	h.Archived += len(archive)
	orphans, err := e.orphans()
	if err != nil {
		return Holdings{}, err
	}
	h.Archived += len(orphans)
	h.Exports = e.exportsWithData()
	return h, nil
}

// Capacity adds up what is promised.
func (e *Engine) Capacity() (Capacity, error) {
	e.placing.Lock()
	defer e.placing.Unlock()
	return e.capacity()
}

func (e *Engine) capacity() (Capacity, error) {
	var c Capacity
	var err error
	if c.Total, c.Used, err = e.Filesystem.Space(); err != nil {
		return Capacity{}, err
	}
	if !e.Missing.Quota {
		c.Allocated = store.Reserve(c.Total)
	}
	c.Allocated += e.Store.SumVolumes(func(v store.Volume) int64 {
		if _, counted := e.pending[v.ID]; counted {
			return 0
		}
		return v.Spec.Promise()
	})
	for _, promise := range e.pending {
		c.Allocated += promise
	}
	exports, err := e.exportBytes()
	if err != nil {
		return Capacity{}, err
	}
	c.Allocated += exports
	for _, s := range e.Store.Snapshots() {
		if _, counted := e.pending[snapshotKey(s.ID)]; counted {
			continue
		}
		charged, err := e.charged(s.ProjectID)
		if err != nil {
			return Capacity{}, err
		}
		if s.State == store.StateCreating { // the copy has not taken all of it yet
			charged = max(charged, s.NeededBytes)
		}
		c.Allocated += charged
	}
	if err := e.addDiscarded(&c); err != nil {
		return Capacity{}, err
	}
	c.Available = store.Largest(e.free(c))
	return c, nil
}

// free is what can be promised to a new volume. Where no promise is enforced, and others fill the share, too, it is what is not used now.
func (e *Engine) free(c Capacity) int64 {
	if e.Missing.Quota {
		return c.Total - c.Used
	}
	return store.Free(c.Total, c.Allocated, e.OvercommitPercent)
}

func (e *Engine) addDiscarded(c *Capacity) error {
	trash, err := e.Store.ListTrash()
	if err != nil {
		return err
	}
	archive, err := e.Store.ListArchive()
	if err != nil {
		return err
	}
	for i, d := range append(trash, archive...) {
		charged, err := e.charged(d.ProjectID)
		if err != nil {
			return err
		}
		c.Allocated += charged
		if i < len(trash) {
			c.Trash += charged
		}
	}
	return nil
}

func (e *Engine) charged(project uint32) (int64, error) {
	q, err := e.Filesystem.Quota(project)
	return store.Charged(q.UsedBytes, q.UsedInodes), err
}

// promise sets a volume's bytes and inodes aside until release is called, by when its record must count them. A volume that has a
// record (expansion) is counted with the new size instead of the recorded one.
func (e *Engine) promise(id string, spec store.Spec) (release func(), err error) {
	return e.setAside(id, spec.Promise())
}

func (e *Engine) setAside(key string, needed int64) (release func(), err error) {
	e.placing.Lock()
	defer e.placing.Unlock()
	e.pending[key] = 0 // so that a recorded size is not counted
	c, err := e.capacity()
	if err == nil {
		if free := e.free(c); needed > free {
			err = fmt.Errorf("%w: %d bytes are free, %d bytes were asked for (inodes counted)", ErrNoSpace, max(free, 0), needed)
		}
	}
	if err != nil {
		delete(e.pending, key)
		return nil, err
	}
	e.pending[key] = needed
	return func() {
		e.placing.Lock()
		defer e.placing.Unlock()
		delete(e.pending, key)
	}, nil
}
