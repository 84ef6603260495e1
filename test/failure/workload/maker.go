package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

const makePause = 500 * time.Millisecond

// maker makes, round by round, a file under a temporary name, its final name, a second name, a third name that it removes again, a
// mode, a shorter length, and a directory.
type maker struct {
	dir  string
	next int64
}

const (
	madeMode   = 0o640
	cutMode    = 0o600
	shortBytes = recordBytes / 2
)

func newMaker(dir string) (*maker, error) {
	for _, name := range []string{"new", "files", "links", "gone", "dirs"} {
		path := filepath.Join(dir, name)
		if err := os.RemoveAll(path); err != nil {
			return nil, err
		}
		if err := os.Mkdir(path, 0o755); err != nil {
			return nil, err
		}
	}
	return &maker{dir, 1}, nil
}

func (m *maker) path(folder string) string {
	return filepath.Join(m.dir, folder, strconv.FormatInt(m.next, 10))
}

// madeKinds are the operations of a round, in order.
var madeKinds = []string{"open", "rename", "link", "unlink", "chmod", "truncate", "mkdir"}

// step is one operation of a round.
type step struct {
	do   func() error
	done func() bool // tells, after an error, whether the operation was done
	lost error       // what the client's repetition of an operation that was done is answered with
}

func (m *maker) steps() map[string]step {
	never := func() bool { return false } // whatever is repeated has the same answer again
	return map[string]step{
		"open":     {m.create, exists(m.path("new")), fs.ErrExist},
		"rename":   {func() error { return os.Rename(m.path("new"), m.path("files")) }, exists(m.path("files")), fs.ErrNotExist},
		"link":     {func() error { return os.Link(m.path("files"), m.path("links")) }, exists(m.path("links")), fs.ErrExist},
		"unlink":   {m.unlink, missing(m.path("gone")), fs.ErrNotExist},
		"chmod":    {func() error { return os.Chmod(m.path("files"), cutMode) }, never, nil},
		"truncate": {func() error { return os.Truncate(m.path("files"), shortBytes) }, never, nil},
		"mkdir":    {func() error { return os.Mkdir(m.path("dirs"), 0o755) }, exists(m.path("dirs")), fs.ErrExist},
	}
}

func exists(path string) func() bool {
	return func() bool { _, err := os.Lstat(path); return err == nil }
}

func missing(path string) func() bool {
	return func() bool { _, err := os.Lstat(path); return errors.Is(err, fs.ErrNotExist) }
}

func (m *maker) once(j *journal) error {
	steps := m.steps()
	for _, kind := range madeKinds {
		s := steps[kind]
		if err := s.do(); err != nil {
			if !errors.Is(err, s.lost) || !s.done() {
				return fmt.Errorf("%s, round %d: %w", kind, m.next, err)
			}
			j.repeated(fmt.Sprintf("%s %s, round %d: %v", time.Now().Format(time.RFC3339Nano), kind, m.next, err))
			if kind == "open" {
				if err := os.WriteFile(m.path("new"), record(m.next), madeMode); err != nil {
					return err
				}
			}
		}
		j.acked(kind)
	}
	m.next++
	return nil
}

// create makes a file, as a database does before it renames it.
func (m *maker) create() error {
	f, err := os.OpenFile(m.path("new"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, madeMode)
	if err != nil {
		return err
	}
	_, err = f.Write(record(m.next))
	return errors.Join(err, f.Sync(), f.Close())
}

// unlink removes a name that it has made before.
func (m *maker) unlink() error {
	if err := os.Link(m.path("files"), m.path("gone")); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return os.Remove(m.path("gone"))
}

// verifyMade finds what each acknowledged operation made. A round that goes on meanwhile may be further than that.
func verifyMade(dir string, acked map[string]int64) error {
	m := &maker{dir, 1}
	for ; m.next <= acked["open"]; m.next++ {
		for _, kind := range madeKinds {
			if m.next > acked[kind] {
				break
			}
			if err := m.verify(kind, m.next <= acked["truncate"]); err != nil {
				return fmt.Errorf("%s, round %d of %d acknowledged ones: %w", kind, m.next, acked[kind], err)
			}
		}
	}
	return nil
}

func (m *maker) verify(kind string, short bool) error {
	switch kind {
	case "open":
		return m.verifyContent(short)
	case "rename":
		if !missing(m.path("new"))() {
			return errors.New("the file still has its old name")
		}
		return wants(m.path("files"), func(info os.FileInfo) bool { return info.Mode().IsRegular() })
	case "link":
		file, err := os.Stat(m.path("files"))
		if err != nil {
			return err
		}
		return wants(m.path("links"), func(info os.FileInfo) bool { return os.SameFile(info, file) })
	case "unlink":
		if !missing(m.path("gone"))() {
			return errors.New("the name is still there")
		}
		return nil
	case "chmod":
		return wants(m.path("files"), func(info os.FileInfo) bool { return info.Mode().Perm() == cutMode })
	case "truncate":
		return wants(m.path("files"), func(info os.FileInfo) bool { return info.Size() == shortBytes })
	default:
		return wants(m.path("dirs"), os.FileInfo.IsDir)
	}
}

func wants(path string, right func(os.FileInfo) bool) error {
	info, err := os.Lstat(path)
	if err == nil && !right(info) {
		err = fmt.Errorf("%s is not as it was made: %s, %d bytes", path, info.Mode(), info.Size())
	}
	return err
}

// verifyContent reads the file, under whichever name it has.
func (m *maker) verifyContent(short bool) error {
	got, err := os.ReadFile(m.path("new"))
	if errors.Is(err, fs.ErrNotExist) {
		got, err = os.ReadFile(m.path("files"))
	}
	if err != nil {
		return err
	}
	want := string(record(m.next))
	if string(got) != want[:shortBytes] && (short || string(got) != want) {
		return fmt.Errorf("the file holds %q", got)
	}
	return nil
}

// verify fails when anything that was acknowledged is not there. acked is how many operations of each kind were.
func verify(dir string, acked map[string]int64) error {
	if err := errors.Join(verifyWrites(dir, acked["write"]), verifyMade(dir, acked)); err != nil {
		return err
	}
	fmt.Printf("all that was acknowledged is there: %v\n", acked)
	return nil
}
