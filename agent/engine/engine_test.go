package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

const (
	mib = int64(1) << 20
	gib = int64(1) << 30
)

// fakeFilesystem works on an ordinary directory and keeps quotas in memory.
type fakeFilesystem struct {
	mu     sync.Mutex
	total  int64
	quotas map[uint32]xfs.Quota
	fail   map[string]error  // by method
	gate   chan struct{}     // CopyTree and SetGroup wait for it, if there is one
	groups map[string]uint32 // by directory
	hangs  chan struct{}     // Space waits for it, if there is one
}

func (f *fakeFilesystem) failing(method string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.fail[method]
}

func (f *fakeFilesystem) Space() (total, used int64, err error) {
	if f.hangs != nil {
		<-f.hangs
	}
	return f.total, 0, f.failing("Space")
}

func (f *fakeFilesystem) Quota(project uint32) (xfs.Quota, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.quotas[project], nil
}

func (f *fakeFilesystem) SetLimits(project uint32, bytes, inodes int64) error {
	if err := f.failing("SetLimits"); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.quotas[project]
	q.LimitBytes, q.LimitInodes = bytes, inodes
	f.quotas[project] = q
	return nil
}

func (f *fakeFilesystem) use(project uint32, bytes int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	q := f.quotas[project]
	q.UsedBytes = bytes
	f.quotas[project] = q
}

func (f *fakeFilesystem) MakeRoot(path string, _ xfs.Root) error {
	if err := f.failing("MakeRoot"); err != nil {
		return err
	}
	return os.MkdirAll(path, 0o700)
}

func (f *fakeFilesystem) CopyTree(ctx context.Context, source, target string, project uint32, report func(int)) error {
	if report != nil {
		report(1)
	}
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := os.CopyFS(target, os.DirFS(source)); err != nil {
		return err
	}
	f.use(project, mib)
	return f.failing("CopyTree")
}

func (f *fakeFilesystem) HasGroup(directory string, gid uint32) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	had, ok := f.groups[directory]
	return ok && had == gid, nil
}

func (f *fakeFilesystem) SetGroup(ctx context.Context, directory string, gid uint32) error {
	if f.gate != nil {
		select {
		case <-f.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.groups == nil {
		f.groups = map[string]uint32{}
	}
	f.groups[directory] = gid
	return nil
}

func (f *fakeFilesystem) RemoveTree(_ context.Context, parent, name string, _ func(context.Context) error) error {
	if err := f.failing("RemoveTree"); err != nil {
		return err
	}
	return os.RemoveAll(filepath.Join(parent, name))
}

// fakeExports is a Ganesha that knows what it was told.
type fakeExports struct {
	book *access.Book
	mu   sync.Mutex
	down bool
	all  map[string]bool
}

func (x *fakeExports) Serving() bool { x.mu.Lock(); defer x.mu.Unlock(); return !x.down }

func (x *fakeExports) setDown(down bool) { x.mu.Lock(); defer x.mu.Unlock(); x.down = down }

func (x *fakeExports) Sync(_ context.Context, names ...string) error {
	if !x.Serving() {
		return errors.New("down")
	}
	for _, name := range names {
		_, ok := x.book.Export(name)
		x.mu.Lock()
		x.all[name] = ok
		x.mu.Unlock()
	}
	return nil
}

type fixture struct {
	*Engine
	t       *testing.T
	root    string
	fs      *fakeFilesystem
	exports *fakeExports
	clock   time.Time
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		t: t, root: t.TempDir(), clock: time.Unix(1000, 0),
		fs: &fakeFilesystem{total: 100 * gib, quotas: map[uint32]xfs.Quota{}, fail: map[string]error{}},
	}
	f.restart()
	return f
}

// restart is what a killed agent does when it starts again.
func (f *fixture) restart() {
	f.t.Helper()
	s, err := store.Open(f.root, store.Init{FilesystemID: "uuid"})
	if err != nil {
		f.t.Fatal(err)
	}
	now := func() time.Time { return f.clock }
	book := access.New(s, time.Minute, now, logr.Discard())
	f.exports = &fakeExports{book: book, all: map[string]bool{}}
	f.Engine = New(Options{
		Store: s, Filesystem: f.fs, Access: book, Exports: f.exports, OvercommitPercent: 100, Now: now, Log: logr.Discard(),
	})
	if err := f.Repair(); err != nil {
		f.t.Fatal(err)
	}
}

// work runs the background until the end of the test.
func (f *fixture) work() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); f.Run(ctx) }()
	f.t.Cleanup(func() { cancel(); <-done })
}

func request(name string, bytes int64) CreateRequest {
	return CreateRequest{Name: name, Spec: store.Spec{Bytes: bytes, Mode: 0o755, Squash: store.SquashNone, OnDelete: store.OnDeleteDelete}}
}

func (f *fixture) create(r CreateRequest) store.Volume {
	f.t.Helper()
	v, err := f.Create(f.t.Context(), r)
	if err != nil {
		f.t.Fatal(err)
	}
	return v
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

func wantError(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func TestCreateAnswersTheSameWhenRepeated(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	if !exists(f.Store.VolumeDir(v.ID)) || !f.exports.all[v.ID] || f.fs.quotas[v.ProjectID].LimitBytes != gib || f.fs.quotas[v.ProjectID].LimitInodes != 65536 {
		t.Errorf("volume %+v is not whole", v)
	}
	if again := f.create(request("pvc-1", gib)); again != v {
		t.Errorf("repeated: %+v, first %+v", again, v)
	}
	f.restart()
	if again := f.create(request("pvc-1", gib)); again != v {
		t.Errorf("after a restart: %+v, first %+v", again, v)
	}
}

func TestCreateRefuses(t *testing.T) {
	f := newFixture(t)
	f.create(request("taken", gib))
	with := func(r CreateRequest, change func(*CreateRequest)) CreateRequest { change(&r); return r }
	for name, c := range map[string]struct {
		request CreateRequest
		want    error
	}{
		"no name":                   {request("", gib), ErrInvalid},
		"size of 0":                 {request("new", 0), ErrInvalid},
		"negative size":             {request("new", -1), ErrInvalid},
		"bad mode":                  {with(request("new", gib), func(r *CreateRequest) { r.Spec.Mode = 0o10000 }), ErrInvalid},
		"more than the disk":        {request("new", 100*gib), ErrNoSpace},
		"overflowing size":          {request("new", 1<<63-1), ErrNoSpace},
		"no whole block fits":       {with(request("new", 2*mib-4095), func(r *CreateRequest) { r.LimitBytes = 2*mib - 1 }), ErrOutOfRange},
		"taken with a smaller size": {request("taken", 2*gib), ErrExists},
		"taken with a larger size":  {with(request("taken", mib), func(r *CreateRequest) { r.LimitBytes = gib - 1 }), ErrExists},
		"taken with another source": {with(request("taken", gib), func(r *CreateRequest) { r.SourceVolume = store.ID("x") }), ErrExists},
		"unknown source volume":     {with(request("new", gib), func(r *CreateRequest) { r.SourceVolume = store.ID("x") }), ErrNotFound},
		"source that is a path":     {with(request("new", gib), func(r *CreateRequest) { r.SourceSnapshot = "../../etc" }), ErrNotFound},
		"source larger":             {with(request("new", mib), func(r *CreateRequest) { r.SourceVolume = store.ID("taken") }), ErrOutOfRange},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := f.Create(t.Context(), c.request)
			wantError(t, err, c.want)
		})
	}
	if n := len(f.Store.Volumes()); n != 1 {
		t.Errorf("%d records are left, want 1", n)
	}
	f.exports.setDown(true)
	_, err := f.Create(t.Context(), request("new", gib))
	wantError(t, err, ErrUnavailable)
}

func TestAFailedCreateIsRepairedByTheNextOrRolledBackByAStart(t *testing.T) {
	for _, method := range []string{"SetLimits", "MakeRoot"} {
		t.Run(method, func(t *testing.T) {
			f := newFixture(t)
			f.fs.fail[method] = errors.New("injected")
			if _, err := f.Create(t.Context(), request("pvc-1", gib)); err == nil {
				t.Fatal("no error")
			}
			if _, err := f.Volume(store.ID("pvc-1")); err == nil {
				t.Error("a half-made volume is in service")
			}
			delete(f.fs.fail, method)
			f.create(request("pvc-1", gib))

			f.fs.fail[method] = errors.New("injected")
			if _, err := f.Create(t.Context(), request("pvc-2", gib)); err == nil {
				t.Fatal("no error")
			}
			delete(f.fs.fail, method)
			f.restart()
			if _, ok := f.Store.Volume(store.ID("pvc-2")); ok {
				t.Error("a half-made volume was not rolled back")
			}
			if _, err := f.Volume(store.ID("pvc-1")); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSpaceIsPromisedOnce(t *testing.T) {
	f := newFixture(t)
	before, err := f.Capacity()
	if err != nil {
		t.Fatal(err)
	}
	v := f.create(request("all", before.Available))
	if c, _ := f.Capacity(); c.Available != 0 {
		t.Errorf("%d bytes available after all was promised", c.Available)
	}
	_, err = f.Create(t.Context(), request("more", mib))
	wantError(t, err, ErrNoSpace)
	_, err = f.Expand(v.ID, v.Spec.Bytes+gib, 0)
	wantError(t, err, ErrNoSpace)
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	f.fs.use(v.ProjectID, gib) // still in the trash
	if c, _ := f.Capacity(); c.Trash != gib || c.Allocated != before.Allocated+gib {
		t.Errorf("capacity %+v", c)
	}
}

func TestExpand(t *testing.T) {
	f := newFixture(t)
	r := request("pvc-1", gib)
	r.Spec.MaxBytes = 4 * gib
	v := f.create(r)
	steps := []struct {
		bytes, limit, after int64
		want                error
	}{
		{mib, 0, gib, nil},
		{2 * gib, 0, 2 * gib, nil},
		{3 * gib, 3*gib - 1, 2 * gib, ErrOutOfRange},
		{5 * gib, 0, 2 * gib, ErrOutOfRange},
		{gib, gib, 2 * gib, ErrOutOfRange},
		{0, 0, 2 * gib, ErrInvalid},
	}
	for i, s := range steps {
		_, err := f.Expand(v.ID, s.bytes, s.limit)
		if !errors.Is(err, s.want) || (err == nil) != (s.want == nil) {
			t.Errorf("step %d: %v, want %v", i, err, s.want)
		}
		if got := f.fs.quotas[v.ProjectID].LimitBytes; got != s.after {
			t.Errorf("step %d: quota %d, want %d", i, got, s.after)
		}
	}
	_, err := f.Expand("../x", gib, 0)
	wantError(t, err, ErrNotFound)
}

func TestLimitsAreSetAnewAfterACrash(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	f.fs.fail["SetLimits"] = errors.New("killed")
	if _, err := f.Expand(v.ID, 2*gib, 0); err == nil {
		t.Fatal("no error")
	}
	delete(f.fs.fail, "SetLimits")
	f.restart()
	if got := f.fs.quotas[v.ProjectID].LimitBytes; got != 2*gib {
		t.Errorf("quota %d after the restart", got)
	}
}

func TestDelete(t *testing.T) {
	for policy, c := range map[store.OnDelete]struct{ trash, archive, stays bool }{
		store.OnDeleteDelete:  {trash: true},
		store.OnDeleteArchive: {archive: true},
		store.OnDeleteRetain:  {stays: true},
	} {
		t.Run(string(policy), func(t *testing.T) {
			f := newFixture(t)
			r := request("pvc-1", gib)
			r.Spec.OnDelete = policy
			v := f.create(r)
			for range 2 {
				if err := f.Delete(t.Context(), v.ID); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := f.Volume(v.ID); err == nil || f.exports.all[v.ID] {
				t.Error("still in service")
			}
			if got := exists(f.Store.TrashDir(v.Discarded())); got != c.trash {
				t.Errorf("in the trash: %t", got)
			}
			if got := exists(f.Store.ArchiveDir(v.Discarded())); got != c.archive {
				t.Errorf("in the archive: %t", got)
			}
			if got := exists(f.Store.VolumeDir(v.ID)); got != c.stays {
				t.Errorf("in its place: %t", got)
			}
			_, err := f.Create(t.Context(), r)
			if c.stays {
				wantError(t, err, ErrExists)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	f := newFixture(t)
	for _, id := range []string{"", "..", "../../etc", store.ID("unknown")} {
		if err := f.Delete(t.Context(), id); err != nil {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestADeleteThatWasCutOffIsFinished(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	v.State = store.StateDeleting
	if err := f.Store.PutVolume(v); err != nil {
		t.Fatal(err)
	}
	f.restart()
	if _, ok := f.Store.Volume(v.ID); ok || exists(f.Store.VolumeDir(v.ID)) {
		t.Error("not finished")
	}
}

func TestOperationsOnOneVolumeExcludeEachOther(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	release, _ := f.locks.acquire(volumeKey(v.ID))
	defer release()
	_, err := f.Create(t.Context(), request("pvc-1", gib))
	wantError(t, err, ErrBusy)
	_, err = f.Expand(v.ID, 2*gib, 0)
	wantError(t, err, ErrBusy)
	wantError(t, f.Delete(t.Context(), v.ID), ErrBusy)
}

func TestTheTrashIsEmptied(t *testing.T) {
	f := newFixture(t)
	v := f.create(request("pvc-1", gib))
	if err := f.Delete(t.Context(), v.ID); err != nil {
		t.Fatal(err)
	}
	f.fs.fail["RemoveTree"] = syscall.EPERM
	if err := f.emptyTrashOnce(t.Context(), nil); !errors.Is(err, syscall.EPERM) {
		t.Errorf("error %v", err)
	}
	delete(f.fs.fail, "RemoveTree")
	if err := f.emptyTrashOnce(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left, _ := f.Store.ListTrash(); len(left) != 0 || f.fs.quotas[v.ProjectID].LimitBytes != 0 {
		t.Errorf("left %v, quota %+v", left, f.fs.quotas[v.ProjectID])
	}
}

func writeFile(t *testing.T, f *fixture, id, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(f.Store.VolumeDir(id), "file"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readFile(path string) string {
	text, err := os.ReadFile(filepath.Join(path, "file"))
	if err != nil {
		return fmt.Sprintf("error: %v", err)
	}
	return string(text)
}

func TestRetainedAndHalfDeletedVolumesAreHeld(t *testing.T) {
	f := newFixture(t)
	for _, policy := range []store.OnDelete{store.OnDeleteDelete, store.OnDeleteArchive, store.OnDeleteRetain} {
		r := request("pvc-"+string(policy), gib)
		r.Spec.OnDelete = policy
		if err := f.Delete(t.Context(), f.create(r).ID); err != nil {
			t.Fatal(err)
		}
	}
	v := f.create(request("half", gib))
	v.State = store.StateDeleting
	if err := f.Store.PutVolume(v); err != nil {
		t.Fatal(err)
	}
	if h, err := f.Holdings(); err != nil || h != (Holdings{Volumes: 1, Archived: 2}) {
		t.Errorf("holds %+v, %v", h, err)
	}
}

// Where xfs_repair has moved records to lost+found, the data are still there.
func TestDataWithoutARecordAreHeld(t *testing.T) {
	f := newFixture(t)
	if err := os.Mkdir(f.Store.VolumeDir(store.ID("lost")), 0o700); err != nil {
		t.Fatal(err)
	}
	making := f.create(request("making", gib))
	making.State = store.StateCreating
	if err := f.Store.PutVolume(making); err != nil {
		t.Fatal(err)
	}
	if h, err := f.Holdings(); err != nil || h != (Holdings{Archived: 1}) {
		t.Errorf("holds %+v, %v", h, err)
	}
}

func TestACutOffDeleteThatRetainsIsNotHandedOutAgain(t *testing.T) {
	f := newFixture(t)
	r := request("pvc-1", gib)
	r.Spec.OnDelete = store.OnDeleteRetain
	v := f.create(r)
	v.State = store.StateDeleting
	if err := f.Store.PutVolume(v); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := f.Create(t.Context(), r)
		wantError(t, err, ErrExists)
	}
	if now, _ := f.Store.Volume(v.ID); now.State != store.StateRetained {
		t.Errorf("state %q", now.State)
	}
}
