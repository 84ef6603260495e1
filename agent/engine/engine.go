// Package engine makes, deletes, grows and copies volumes: it is what happens between a call to the agent and the disk, the
// quotas and the exports. Every operation may be repeated, and killed at any step: the record is written before the thing
// that it describes, and finished after it.
package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

var (
	// ErrNotFound is returned for a volume or snapshot that does not exist.
	ErrNotFound = errors.New("not found")
	// ErrExists is returned when a name is taken by something that was asked for with other properties.
	ErrExists = errors.New("exists with other properties")
	// ErrBusy is returned while another operation on the same object is in progress: repeat.
	ErrBusy = errors.New("operation in progress")
	// ErrNoSpace is returned when the disk cannot promise the bytes.
	ErrNoSpace = errors.New("no space left to promise")
	// ErrOutOfRange is returned for sizes that no repetition will make possible.
	ErrOutOfRange = errors.New("size out of range")
	// ErrInvalid is returned for requests that are wrong in themselves.
	ErrInvalid = errors.New("invalid request")
	// ErrUnavailable is returned while no Ganesha serves.
	ErrUnavailable = errors.New("server is not serving")
	// ErrUnsupported is returned for what the file system below cannot do.
	ErrUnsupported = errors.New("not supported by the storage of this backend")
	// ErrTooMany is returned when the shard has as many volumes as it can start with in time.
	ErrTooMany = errors.New("too many volumes")
)

// MaxVolumes is how many volumes one server holds: with more, Ganesha takes too long to start.
const MaxVolumes = 10_000

// Filesystem is the disk, as package xfs gives it.
type Filesystem interface {
	Space() (total, used int64, err error)
	Quota(project uint32) (xfs.Quota, error)
	SetLimits(project uint32, bytes, inodes int64) error
	MakeRoot(path string, r xfs.Root) error
	CopyTree(ctx context.Context, source, target string, project uint32, report func(files int)) error
	HasGroup(directory string, gid uint32) (bool, error)
	SetGroup(ctx context.Context, directory string, gid uint32) error
	RemoveTree(ctx context.Context, parent, name string, pace func(context.Context) error) error
}

// Exports is the running NFS server.
type Exports interface {
	// Sync returns when the server knows what the access book says of the named volumes.
	Sync(ctx context.Context, names ...string) error
	// Serving tells whether it answers.
	Serving() bool
}

// Options are what an engine works with.
type Options struct {
	Store             *store.Store
	Filesystem        Filesystem
	Access            *access.Book
	Exports           Exports
	OvercommitPercent int32
	Missing           Missing
	Now               func() time.Time
	Log               logr.Logger
}

// Engine works on the objects of one disk. It is safe for concurrent use.
type Engine struct {
	Options
	locks locks
	jobs  *jobs

	// placing guards the sum of promises: between the look at what is free and the record that takes it.
	placing sync.Mutex
	pending map[string]int64 // promised to calls whose records are not written yet

	emptyTrash chan struct{} // wakes the worker
	claims     chan claimChange
	linking    sync.Mutex // one link by claim at a time
	unrepaired atomic.Int64
	surveys    surveys
}

// New makes an engine. Repair must be called before anything else is.
func New(o Options) *Engine {
	return &Engine{
		Options: o, locks: locks{held: map[string]int{}}, jobs: newJobs(), pending: map[string]int64{},
		emptyTrash: make(chan struct{}, 1), claims: make(chan claimChange, maxClaimChanges), surveys: newSurveys(),
	}
}

// Volume finds a volume in service, by id.
func (e *Engine) Volume(id string) (store.Volume, error) {
	v, ok := e.Store.Volume(id)
	if !ok || v.State != store.StateReady {
		return store.Volume{}, ErrNotFound
	}
	return v, nil
}

// Volumes lists the volumes in service, in order of their ids, behind one.
func (e *Engine) Volumes(after string) []store.Volume {
	var ready []store.Volume
	for _, v := range e.Store.Volumes() {
		if v.State == store.StateReady && v.ID > after {
			ready = append(ready, v)
		}
	}
	return ready
}

// Usage reads what a volume's or a static export's quota says.
func (e *Engine) Usage(id string) (xfs.Quota, error) {
	if store.ValidStaticID(id) {
		return e.exportUsage(id)
	}
	v, err := e.Volume(id)
	if err != nil {
		return xfs.Quota{}, err
	}
	if e.Missing.Quota {
		return xfs.Quota{}, fmt.Errorf("%w: it does not say what a single volume takes", ErrUnsupported)
	}
	return e.Filesystem.Quota(v.ProjectID)
}
