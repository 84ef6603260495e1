package main

import (
	"maps"
	"os"
	"path/filepath"
	"testing"
)

func TestVerifyFindsWhatIsMissing(t *testing.T) {
	const rounds = 3
	whole := map[string]int64{"write": rounds}
	for _, kind := range madeKinds {
		whole[kind] = rounds
	}
	in := func(dir, folder, name string) string { return filepath.Join(dir, folder, name) }
	for name, spoil := range map[string]func(dir string) error{
		"":                               func(string) error { return nil },
		"a record is cut off":            func(dir string) error { return os.Truncate(steadyFile(dir), rounds*recordBytes-1) },
		"a record is another":            func(dir string) error { return os.WriteFile(steadyFile(dir), make([]byte, rounds*recordBytes), 0o644) },
		"a file is missing":              func(dir string) error { return os.Remove(in(dir, "files", "2")) },
		"a file is empty":                func(dir string) error { return os.Truncate(in(dir, "files", "3"), 0) },
		"a directory is gone":            func(dir string) error { return os.Remove(in(dir, "dirs", "1")) },
		"a rename is undone":             func(dir string) error { return os.Rename(in(dir, "files", "1"), in(dir, "new", "1")) },
		"a rename has left the old name": func(dir string) error { return os.WriteFile(in(dir, "new", "1"), record(1), 0o644) },
		"a link is missing":              func(dir string) error { return os.Remove(in(dir, "links", "3")) },
		"a link is another file": func(dir string) error {
			return os.Rename(in(dir, "links", "1"), in(dir, "links", "2"))
		},
		"a removed name is back":  func(dir string) error { return os.Link(in(dir, "files", "3"), in(dir, "gone", "3")) },
		"a mode is the old one":   func(dir string) error { return os.Chmod(in(dir, "files", "3"), madeMode) },
		"a length is the old one": func(dir string) error { return os.WriteFile(in(dir, "files", "3"), record(3), cutMode) },
		"a directory is a file": func(dir string) error {
			_ = os.Remove(in(dir, "dirs", "2"))
			return os.WriteFile(in(dir, "dirs", "2"), nil, 0o644)
		},
	} {
		dir, j := workedIn(t, rounds)
		if err := spoil(dir); err != nil {
			t.Fatal(err)
		}
		if err := verify(dir, whole); (err != nil) != (name != "") {
			t.Errorf("%q: verify says %v", name, err)
		}
		r := j.report()
		acked := map[string]int64{}
		for kind, k := range r.Kinds {
			acked[kind] = k.Acked
		}
		if !maps.Equal(acked, whole) || len(r.Replayed) != 0 {
			t.Errorf("%q: report %+v", name, r)
		}
	}
}

// TestVerifyTakesARoundAsFarAsItWasAcknowledged: what was done beyond that may be there, or not.
func TestVerifyTakesARoundAsFarAsItWasAcknowledged(t *testing.T) {
	dir, _ := workedIn(t, 2)
	for _, undo := range []struct {
		kind string // from here on only the first round was acknowledged
		do   func() error
	}{
		{"mkdir", func() error { return os.Remove(filepath.Join(dir, "dirs", "2")) }},
		{"truncate", func() error { return os.WriteFile(filepath.Join(dir, "files", "2"), record(2), cutMode) }},
		{"chmod", func() error { return os.Chmod(filepath.Join(dir, "files", "2"), madeMode) }},
		{"unlink", func() error { return os.Link(filepath.Join(dir, "files", "2"), filepath.Join(dir, "gone", "2")) }},
		{"link", func() error { return os.Remove(filepath.Join(dir, "links", "2")) }},
		{"rename", func() error { return os.Rename(filepath.Join(dir, "files", "2"), filepath.Join(dir, "new", "2")) }},
		{"open", func() error { return os.Remove(filepath.Join(dir, "new", "2")) }},
	} {
		acked := map[string]int64{"write": 2}
		before := true
		for _, kind := range madeKinds {
			before = before && kind != undo.kind
			if acked[kind] = 1; before {
				acked[kind] = 2
			}
		}
		if err := verify(dir, acked); err != nil {
			t.Errorf("%s not acknowledged, but done: %v", undo.kind, err)
		}
		if err := undo.do(); err != nil {
			t.Fatal(err)
		}
		if err := verify(dir, acked); err != nil {
			t.Errorf("%s not acknowledged, and not done: %v", undo.kind, err)
		}
		acked[undo.kind] = 2
		if err := verify(dir, acked); err == nil {
			t.Errorf("%s acknowledged, and not done: not found", undo.kind)
		}
	}
}

func workedIn(t *testing.T, rounds int) (string, *journal) {
	t.Helper()
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
	return dir, j
}
