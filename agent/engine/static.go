package engine

import (
	"strings"

	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

// PromiseExport sets the size of a static export aside until release is called, by when its record must count it. ErrNoSpace means
// that the disk cannot promise so much.
func (e *Engine) PromiseExport(name string, bytes int64) (release func(), err error) {
	return e.promise(store.StaticID(name), store.Spec{Bytes: bytes})
}

// exportUsage reads what a static export's quota says.
func (e *Engine) exportUsage(id string) (xfs.Quota, error) {
	_, name, _ := strings.Cut(id, "-")
	x, ok := e.Store.Export(name)
	if !ok || x.Bytes == 0 {
		return xfs.Quota{}, ErrNotFound
	}
	return e.Filesystem.Quota(x.ProjectID)
}

// exportBytes is what static exports may take; those no longer served, what they have taken.
func (e *Engine) exportBytes() (sum int64, err error) {
	for _, x := range e.Store.Exports() {
		if _, counted := e.pending[store.StaticID(x.Name)]; counted {
			continue
		}
		if x.Bytes > 0 {
			sum += store.Spec{Bytes: x.Bytes}.Promise()
			continue
		}
		charged, err := e.charged(x.ProjectID)
		if err != nil {
			return 0, err
		}
		sum += charged
	}
	return sum, nil
}

// exportsWithData counts the static exports that hold anything, served or not: their root directory is one inode.
func (e *Engine) exportsWithData() (n int, err error) {
	for _, x := range e.Store.Exports() {
		q, err := e.Filesystem.Quota(x.ProjectID)
		if err != nil {
			return 0, err
		}
		if q.UsedInodes > 1 {
			n++
		}
	}
	return n, nil
}
