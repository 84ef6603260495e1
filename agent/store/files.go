package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/google/renameio/v2"
)

// write replaces a file so that after a crash either the old or the new text is there, whole. On a full disk it gives up
// the ballast and tries once more.
func (s *Store) write(path string, value any) error {
	return s.writeBy(replaceFile, path, value)
}

// writeNew makes a file that is not whole until this has returned: whoever reads it after a crash must be ready for that.
func (s *Store) writeNew(path string, value any) error { return s.writeBy(makeFile, path, value) }

func (s *Store) writeBy(write func(path string, text []byte) error, path string, value any) error {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	if err := s.withBallast(func() error { return write(path, text) }); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// withBallast does something once more on a full disk, without the ballast.
func (s *Store) withBallast(do func() error) error {
	err := do()
	if errors.Is(err, syscall.ENOSPC) && os.Remove(s.Ballast()) == nil {
		err = do()
	}
	return err
}

// replaceFile changes no mode after the file is made: with wsync each such change waits for the disk.
func replaceFile(path string, text []byte) error {
	f, err := renameio.NewPendingFile(path, renameio.WithTempDir(filepath.Dir(path)), renameio.WithPermissions(filePerm))
	if err != nil {
		return err
	}
	defer func() { _ = f.Cleanup() }()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.CloseAtomicallyReplace(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func makeFile(path string, text []byte) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, filePerm)
	if err != nil {
		return err
	}
	defer func() {
		_ = f.Close()
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	if _, err := f.Write(text); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// remove deletes a file for good. That it is not there is fine.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove record: %w", err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", dir, err)
	}
	return nil
}

// readAll decodes every record of a directory. Files that a crash left behind while they were written are removed.
func readAll[T any](dir string, decode func(name string, text []byte) (T, error)) (map[string]T, error) {
	all := map[string]T{}
	err := readEach(dir, func(file string, text func() ([]byte, error)) error {
		name, ok := strings.CutSuffix(file, jsonExt)
		if !ok {
			return nil // not ours: an administrator's copy
		}
		t, err := text()
		if err == nil {
			all[name], err = decode(name, t)
		}
		return err
	})
	return all, err
}

// readEach calls read for every file of a directory of records.
func readEach(dir string, read func(file string, text func() ([]byte, error)) error) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.Remove(path); err != nil {
				return fmt.Errorf("remove left-over file: %w", err)
			}
			continue
		}
		if err := read(e.Name(), func() ([]byte, error) { return os.ReadFile(path) }); err != nil {
			return fmt.Errorf("record %s: %w", path, err)
		}
	}
	return nil
}

// removeLeftOvers removes files that a crash left behind while they were written, where nothing reads all files. One that stays does no
// harm.
func removeLeftOvers(dir string) {
	left, _ := filepath.Glob(filepath.Join(dir, ".*"+jsonExt+"*"))
	for _, path := range left {
		_ = os.Remove(path)
	}
}
