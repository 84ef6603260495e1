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

// maker makes, round by round, a file under a temporary name, its final name, and a directory.
type maker struct {
	dir  string
	next int64
}

func newMaker(dir string) (*maker, error) {
	for _, name := range []string{"new", "files", "dirs"} {
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

func (m *maker) once(j *journal) error {
	steps := []struct {
		kind string
		do   func() error
		done string // exists when the operation was done
		lost error  // what the client's repetition of an operation that was done is answered with
	}{
		{"open", m.create, m.path("new"), fs.ErrExist},
		{"rename", func() error { return os.Rename(m.path("new"), m.path("files")) }, m.path("files"), fs.ErrNotExist},
		{"mkdir", func() error { return os.Mkdir(m.path("dirs"), 0o755) }, m.path("dirs"), fs.ErrExist},
	}
	for _, s := range steps {
		if err := s.do(); err != nil {
			if _, there := os.Lstat(s.done); !errors.Is(err, s.lost) || there != nil {
				return fmt.Errorf("%s, round %d: %w", s.kind, m.next, err)
			}
			j.repeated(fmt.Sprintf("%s %s, round %d: %v", time.Now().Format(time.RFC3339Nano), s.kind, m.next, err))
			if s.kind == "open" {
				if err := os.WriteFile(s.done, record(m.next), 0o644); err != nil {
					return err
				}
			}
		}
		j.acked(s.kind)
	}
	m.next++
	return nil
}

// create makes a file, as a database does before it renames it.
func (m *maker) create() error {
	f, err := os.OpenFile(m.path("new"), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(record(m.next))
	return errors.Join(err, f.Sync(), f.Close())
}

// verifyMade finds what each of the first n rounds made.
func verifyMade(dir string, n int64) error {
	m := &maker{dir, 1}
	for ; m.next <= n; m.next++ {
		content, err := os.ReadFile(m.path("files"))
		if err != nil {
			return fmt.Errorf("file of round %d of %d acknowledged ones: %w", m.next, n, err)
		}
		if want := record(m.next); string(content) != string(want) {
			return fmt.Errorf("file of round %d of %d acknowledged ones holds %q", m.next, n, content)
		}
		if _, err := os.Lstat(m.path("new")); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("file of round %d of %d acknowledged ones still has its old name (%v)", m.next, n, err)
		}
		if info, err := os.Stat(m.path("dirs")); err != nil || !info.IsDir() {
			return fmt.Errorf("directory of round %d of %d acknowledged ones is none (%v)", m.next, n, err)
		}
	}
	return nil
}

// verify fails when anything that was acknowledged is not there.
func verify(dir string, writes, rounds int64) error {
	if err := errors.Join(verifyWrites(dir, writes), verifyMade(dir, rounds)); err != nil {
		return err
	}
	fmt.Printf("%d writes and %d rounds are there\n", writes, rounds)
	return nil
}
