package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	const rounds = 3
	for name, spoil := range map[string]func(dir string) error{
		"":                    func(string) error { return nil },
		"a record is cut off": func(dir string) error { return os.Truncate(steadyFile(dir), rounds*recordBytes-1) },
		"a record is another": func(dir string) error { return os.WriteFile(steadyFile(dir), make([]byte, rounds*recordBytes), 0o644) },
		"a file is missing":   func(dir string) error { return os.Remove(filepath.Join(dir, "files", "2")) },
		"a file is empty":     func(dir string) error { return os.Truncate(filepath.Join(dir, "files", "3"), 0) },
		"a directory is gone": func(dir string) error { return os.Remove(filepath.Join(dir, "dirs", "1")) },
		"a rename is undone":  func(dir string) error { return os.WriteFile(filepath.Join(dir, "new", "1"), nil, 0o644) },
		"a directory is a file": func(dir string) error {
			p := filepath.Join(dir, "dirs", strconv.Itoa(2))
			_ = os.Remove(p)
			return os.WriteFile(p, nil, 0o644)
		},
	} {
		dir, j := t.TempDir(), newJournal()
		w, err := newWriter(dir)
		if err != nil {
			t.Fatal(err)
		}
		m, err := newMaker(dir)
		if err != nil {
			t.Fatal(err)
		}
		for range rounds {
			if err := w.once(j); err != nil {
				t.Fatal(err)
			}
			if err := m.once(j); err != nil {
				t.Fatal(err)
			}
		}
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if err := verify(dir, rounds, rounds); (err != nil) != (name != "") {
			t.Errorf("%q: verify says %v", name, err)
		}
		if r := j.report(); r.Kinds["write"].Acked != rounds || r.Kinds["mkdir"].Acked != rounds || len(r.Replayed) != 0 {
			t.Errorf("%q: report %+v", name, r)
		}
	}
}
