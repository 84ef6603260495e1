package engine

import (
	"errors"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

// PromiseExport sets the size of a static export aside until release is called, by when its record must count it. ErrNoSpace means
// that the disk cannot promise so much, ErrUnsupported that no size can be enforced.
func (e *Engine) PromiseExport(name string, bytes int64) (release func(), err error) {
	if err := e.Missing.checkExport(); err != nil {
		return nil, err
	}
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

// exportsWithData counts the static exports that hold anything, served or not. One that cannot be read counts.
func (e *Engine) exportsWithData() (n int) {
	for _, x := range e.Store.Exports() {
		if !emptyBelow(e.Store.StaticRoot(), x.Path) {
			n++
		}
	}
	return n
}

func emptyBelow(root, path string) bool {
	inside, err := os.OpenRoot(root)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	defer func() { _ = inside.Close() }()
	// Users write to the directories above, where exports that are served no more may lie: to open a pipe would wait for ever.
	dir, err := inside.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return errors.Is(err, os.ErrNotExist)
	}
	defer func() { _ = dir.Close() }()
	_, err = dir.Readdirnames(1)
	return errors.Is(err, io.EOF)
}
