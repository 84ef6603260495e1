package exports

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

// disk remembers which directory is charged to which project, as XFS does.
type disk struct {
	projects map[string]uint32
	limits   map[uint32]int64
	fail     error
}

func (d *disk) MakeStatic(root, path string, newProject func() (uint32, error)) (uint32, error) {
	if d.fail != nil {
		return 0, d.fail
	}
	if err := os.MkdirAll(filepath.Join(root, path), 0o700); err != nil {
		return 0, err
	}
	for above := filepath.Dir(path); d.projects[path] == 0 && above != "."; above = filepath.Dir(above) {
		d.projects[path] = d.projects[above] // inherited
	}
	if d.projects[path] == 0 {
		project, err := newProject()
		if err != nil {
			return 0, err
		}
		d.projects[path] = project
	}
	return d.projects[path], nil
}

func (d *disk) SetLimits(project uint32, bytes, _ int64) error {
	d.limits[project] = bytes
	return nil
}

type promises struct{ full bool }

var errFull = errors.New("no space left to promise")

func (p *promises) PromiseExport(string, int64) (func(), error) {
	if p.full {
		return nil, errFull
	}
	return func() {}, nil
}

func (*promises) SyncExports(context.Context, ...string) error { return nil }

type fixture struct {
	*Keeper
	t        *testing.T
	root     string
	file     string
	disk     *disk
	promises *promises
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{
		t: t, root: t.TempDir(), file: filepath.Join(t.TempDir(), "exports.yaml"), promises: &promises{},
		disk: &disk{projects: map[string]uint32{}, limits: map[uint32]int64{}},
	}
	f.restart()
	return f
}

func (f *fixture) restart() {
	f.t.Helper()
	s, err := store.Open(f.root, store.Init{FilesystemID: "uuid"})
	if err != nil {
		f.t.Fatal(err)
	}
	f.Keeper = &Keeper{
		File: f.file, Store: s, Filesystem: f.disk, Engine: f.promises, Log: logr.Discard(),
		Access: access.New(s, time.Second, time.Now, logr.Discard()),
	}
}

func (f *fixture) write(text string) {
	f.t.Helper()
	if err := os.WriteFile(f.file, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f *fixture) configure(names ...string) {
	f.t.Helper()
	var e config.Exports
	for _, name := range names {
		e.Exports = append(e.Exports, config.StaticExport{
			Name: name, Path: "dir/" + name, Bytes: 1, Squash: config.SquashAll,
			Clients: []config.ExportClient{{CIDR: netip.MustParsePrefix("10.0.0.0/8"), ReadOnly: true}},
		})
	}
	text, err := e.Marshal()
	if err != nil {
		f.t.Fatal(err)
	}
	f.write(string(text))
}

func (f *fixture) served() (names []string) {
	for _, e := range f.Access.Exports() {
		names = append(names, e.Name)
	}
	return names
}

func (f *fixture) wantServed(when string, want ...string) {
	f.t.Helper()
	if got := f.served(); !slices.Equal(got, want) {
		f.t.Errorf("%s: served %v, want %v; warnings %q", when, got, want, f.Warnings())
	}
}

func TestExportsFollowTheFile(t *testing.T) {
	f := newFixture(t)
	f.Look()
	f.wantServed("no file")
	f.configure("a", "b")
	if changed := f.Look(); !slices.Equal(changed, []string{"e-a", "e-b"}) {
		t.Errorf("changed %v", changed)
	}
	f.wantServed("two", "e-a", "e-b")
	if changed := f.Look(); changed != nil {
		t.Errorf("nothing changed, and %v did", changed)
	}
	before, _ := f.Access.Export("e-b")
	if before.ID == 0 || before.Path != f.root+"/exports/dir/b" || f.disk.limits[uint32(before.FilesystemID)] != 1<<20 {
		t.Errorf("export %+v, limits %v", before, f.disk.limits)
	}
	f.configure("a")
	f.Look()
	f.wantServed("one taken away", "e-a")
	if _, err := os.Stat(before.Path); err != nil {
		t.Errorf("its data: %v", err)
	}
	f.restart()
	f.configure("a", "b", "c")
	f.Look()
	f.wantServed("put back after a restart", "e-a", "e-b", "e-c")
	if after, _ := f.Access.Export("e-b"); after.ID != before.ID || after.FilesystemID != before.FilesystemID {
		t.Errorf("clients knew %+v, now it is %+v", before, after)
	}
	if c, _ := f.Access.Export("e-c"); c.ID == before.ID {
		t.Error("two exports have one id")
	}
}

func TestAWrongFileChangesNothingNotEvenAtAStart(t *testing.T) {
	f := newFixture(t)
	f.configure("a")
	f.Look()
	for _, restart := range []bool{false, true} {
		f.write("exports: [{surprise: 1}]")
		if restart {
			f.restart()
		}
		f.Look()
		f.wantServed("wrong file", "e-a")
		if w := f.Warnings(); len(w) != 1 || !strings.Contains(w[0], "surprise") {
			t.Errorf("warnings %q", w)
		}
	}
	f.configure("b")
	f.Look()
	f.wantServed("mended", "e-b")
	if w := f.Warnings(); len(w) != 0 {
		t.Errorf("warnings %q", w)
	}
}

func TestOneBadExportKeepsNoOtherDown(t *testing.T) {
	f := newFixture(t)
	f.configure("a")
	f.Look()
	f.promises.full = true
	f.configure("a", "b")
	f.Look()
	f.wantServed("no space for b", "e-a")
	if w := f.Warnings(); len(w) != 1 || !strings.Contains(w[0], "export b: no space") {
		t.Errorf("warnings %q", w)
	}
	f.promises.full, f.retry = false, time.Now().Add(-time.Second)
	f.Look()
	f.wantServed("space again", "e-a", "e-b")
	f.disk.fail, f.retry = errors.New("symbolic link"), time.Time{}
	f.configure("a", "b", "c")
	f.Look()
	f.wantServed("directories are not what they should be")
}

func TestAnExportUnderAnotherNameIsCountedOnce(t *testing.T) {
	f := newFixture(t)
	f.write("exports: [{name: a, path: p, bytes: 1, squash: None}]")
	f.Look()
	a, _ := f.Access.Export("e-a")
	f.write("exports: []")
	f.Look()
	f.write("exports: [{name: b, path: p, bytes: 1, squash: None}]")
	f.Look()
	if b, _ := f.Access.Export("e-b"); b.FilesystemID != a.FilesystemID || b.ID == a.ID {
		t.Errorf("was %+v, is %+v", a, b)
	}
	if all := f.Store.Exports(); len(all) != 1 {
		t.Errorf("records %+v", all)
	}
}

func (f *fixture) wantWarning(want string) {
	f.t.Helper()
	if w := f.Warnings(); len(w) != 1 || !strings.Contains(w[0], want) {
		f.t.Errorf("warnings %q, want %q", w, want)
	}
}

func TestANameStaysWithItsData(t *testing.T) {
	f := newFixture(t)
	f.write("exports: [{name: a, path: p, bytes: 1, squash: None}]")
	f.Look()
	before, _ := f.Store.Export("a")
	f.write("exports: []")
	f.Look()
	f.write("exports: [{name: a, path: q, bytes: 1, squash: None}]")
	f.Look()
	f.wantServed("its name with another path")
	f.wantWarning("export a: its name belongs to the data in p: choose another name")
	f.write("exports: [{name: a, path: p, bytes: 1, squash: None}]")
	f.Look()
	f.wantServed("its path again", "e-a")
	if after, _ := f.Store.Export("a"); after != before {
		t.Errorf("was %+v, is %+v", before, after)
	}
}

func TestADirectoryOfAFormerExportIsNoExport(t *testing.T) {
	f := newFixture(t)
	f.write("exports: [{name: a, path: p, bytes: 2000000, squash: None}]")
	f.Look()
	a, _ := f.Store.Export("a")
	limit := f.disk.limits[a.ProjectID]
	f.write("exports: [{name: b, path: p/sub, bytes: 1, squash: None}]")
	f.Look()
	f.wantServed("it lies in a's directory")
	f.wantWarning("export b: path p/sub lies in the directory of export a, to which it is charged")
	if got := f.disk.limits[a.ProjectID]; got != limit {
		t.Errorf("limit of a was %d, is %d", limit, got)
	}
}

func TestAFileThatIsGoneChangesNothing(t *testing.T) {
	f := newFixture(t)
	for range 2 {
		f.Look()
		if w := f.Warnings(); len(w) != 0 {
			t.Errorf("there never was a file: warnings %q", w)
		}
	}
	f.configure("a")
	f.Look()
	for _, restart := range []bool{false, true} {
		if err := os.Remove(f.file); err != nil {
			t.Fatal(err)
		}
		if restart {
			f.restart()
		}
		for range 2 {
			f.Look()
			f.wantServed("file gone", "e-a")
			f.wantWarning("no such file")
		}
		f.configure("a")
		f.Look()
		f.wantServed("file back", "e-a")
		if w := f.Warnings(); len(w) != 0 {
			t.Errorf("file back: warnings %q", w)
		}
	}
	f.write("exports: []")
	f.Look()
	f.wantServed("taken away")
}
