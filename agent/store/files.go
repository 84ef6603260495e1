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
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Errorf("encode %s: %w", filepath.Base(path), err)
	}
	err = writeFile(path, text)
	if errors.Is(err, syscall.ENOSPC) && os.Remove(s.Ballast()) == nil {
		err = writeFile(path, text)
	}
	if err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

func writeFile(path string, text []byte) error {
	if err := renameio.WriteFile(path, text, filePerm, renameio.WithTempDir(filepath.Dir(path)), renameio.WithStaticPermissions(filePerm)); err != nil {
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
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read records: %w", err)
	}
	all := make(map[string]T, len(entries))
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), ".") {
			if err := os.Remove(path); err != nil {
				return nil, fmt.Errorf("remove left-over file: %w", err)
			}
			continue
		}
		name, ok := strings.CutSuffix(e.Name(), jsonExt)
		if !ok {
			continue // not ours: an administrator's copy
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read record: %w", err)
		}
		if all[name], err = decode(name, text); err != nil {
			return nil, fmt.Errorf("record %s: %w", path, err)
		}
	}
	return all, nil
}
