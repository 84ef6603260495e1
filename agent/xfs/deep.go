package xfs

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// At this depth below the start of a piece of a tree another piece begins, whose turn comes later: so a deep tree does not take two
	// file descriptors for each of its levels.
	pieceDepth = 100
	// Starts of pieces that are kept open at a time. A tree needs one for each pieceDepth of its levels, and only where it branches
	// there: this is for 400,000 levels.
	maxStarts = 4096
)

// ErrTooDeep means that a tree has too many levels to be walked through.
var ErrTooDeep = errors.New("too many levels of directories")

// directory is one on the way through a tree. In a copy, its own attributes are set when all its entries are made, for those change its
// times.
type directory struct {
	parent   *directory // nil for the root
	name     string
	depth    int         // below the start of its piece
	piece    *start      // that it lies in; of the root of a piece that waits, the one above
	seen     unix.Stat_t // as it was found; in a copy only
	from, to *os.File
	pending  sync.WaitGroup // entries that workers make
}

// start is where a piece of a tree begins. It stays open as long as pieces below it wait: to open them from the root again would take a
// deep tree a time that grows with the square of its depth.
type start struct {
	dir      *directory
	from, to *os.File // nil as long as nothing waits
	waiting  int
}

// below is a directory in this one.
func (d *directory) below(name string) *directory {
	return &directory{parent: d, name: name, depth: d.depth + 1, piece: d.piece}
}

// names leads to the directory from one above it, nil for the root.
func (d *directory) names(above *directory) (names []string) {
	for ; d != above && d.parent != nil; d = d.parent {
		names = append(names, d.name)
	}
	slices.Reverse(names)
	return names
}

// wrap says of which entry an error is.
func (d *directory) wrap(err error, elem ...string) error {
	if err != nil {
		return fmt.Errorf("%.1000q: %w", strings.Join(append(d.names(nil), elem...), "/"), err)
	}
	return nil
}

// gone tells what the owner removed, or made another thing of, from a fault. Of what another client has removed, an NFS client says that its
// handle is stale; when the share itself is lost, that is so for the root of the walk, too.
func (l *later) gone(err error) bool {
	if errors.Is(err, errVanished) {
		return true
	}
	var st unix.Stat_t
	return errors.Is(err, unix.ESTALE) && unix.Fstat(int(l.root.Fd()), &st) == nil
}

// vanished tells what the owner did meanwhile from a fault.
func (d *directory) vanished(err error) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return errVanished
	}
	return d.wrap(err)
}

func (d *directory) close() {
	_ = d.from.Close()
	if d.to != nil {
		_ = d.to.Close()
	}
}

// later are the roots of pieces whose turn has not come. The latest comes first, so that not many starts are open at a time.
type later struct {
	root    *os.File // of the walk
	waiting []*directory
	open    int // starts
}

// begin makes the whole tree wait. Its files remain the caller's; to is nil where there is no copy.
func (l *later) begin(from, to *os.File) {
	l.root = from
	whole := &start{from: from, to: to, waiting: 2} // more than the one that waits: it is never closed
	l.waiting = []*directory{{piece: whole}}
}

// add makes a directory wait that lies too deep. The start of the piece in which it was found is still open.
func (l *later) add(d *directory) error {
	top := d.piece
	if top.waiting == 0 {
		if l.open == maxStarts {
			return ErrTooDeep
		}
		if err := top.keep(); err != nil {
			return err
		}
		l.open++
	}
	top.waiting++
	l.waiting = append(l.waiting, d)
	return nil
}

// keep opens the start of a piece for those that wait, for it is closed when it is done itself.
func (s *start) keep() (err error) {
	if s.from, err = openBeneath(s.dir.from, ".", unix.O_DIRECTORY); err != nil {
		return err
	}
	if s.dir.to == nil {
		return nil
	}
	if s.to, err = openBeneath(s.dir.to, ".", unix.O_DIRECTORY); err != nil {
		_ = s.from.Close()
	}
	return err
}

// next opens the directory whose turn it is, as the start of a piece of its own: nil when none waits.
func (l *later) next() (*directory, error) {
	if len(l.waiting) == 0 {
		return nil, nil
	}
	d := l.waiting[len(l.waiting)-1]
	l.waiting = l.waiting[:len(l.waiting)-1]
	above := d.piece
	defer l.release(above)
	d.depth, d.piece = 0, &start{dir: d}
	names := d.names(above.dir)
	var err error
	if d.from, err = descend(above.from, names); err != nil {
		return d, d.vanished(err)
	}
	if above.to == nil {
		return d, nil
	}
	if d.to, err = descend(above.to, names); err != nil {
		_ = d.from.Close()
	}
	return d, d.wrap(err)
}

func (l *later) release(s *start) {
	if s.waiting--; s.waiting > 0 {
		return
	}
	_ = s.from.Close()
	if s.to != nil {
		_ = s.to.Close()
	}
	l.open--
}

// close ends a walk that has not come to its end.
func (l *later) close() {
	for _, d := range l.waiting {
		l.release(d.piece)
	}
}

// descend opens the directories of a path one by one: that of a deep tree is longer than one call may take.
func descend(root *os.File, names []string) (*os.File, error) {
	dir, err := openBeneath(root, ".", unix.O_DIRECTORY)
	for _, name := range names {
		if err != nil {
			return nil, err
		}
		var next *os.File
		next, err = openBeneath(dir, name, unix.O_DIRECTORY)
		_ = dir.Close()
		dir = next
	}
	return dir, err
}
