package store

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// files lists the records' directory.
func files(t *testing.T, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.volumeRecords())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestAVolumesStateSurvivesReopening(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	v := volume("a")
	for _, step := range []struct {
		state State
		file  string
	}{
		{StateCreating, ".creating"},
		{StateReady, ".json"},
		{StateDeleting, ".deleting"},
		{StateRetained, ".json"},
		{StateReady, ".json"},
	} {
		v.State = step.state
		if err := s.PutVolume(v); err != nil {
			t.Fatal(err)
		}
		if got := files(t, s); !slices.Equal(got, []string{v.ID + step.file}) {
			t.Errorf("%s: files %v", step.state, got)
		}
		s = openStore(t, root)
		if got, ok := s.Volume(v.ID); !ok || got != v {
			t.Errorf("%s: read %+v", step.state, got)
		}
	}
	for _, state := range []State{StateDeleting, StateReady, StateCreating} {
		v.State = state
		if err := s.PutVolume(v); err != nil {
			t.Fatal(err)
		}
		if err := s.RemoveVolume(v.ID); err != nil || len(files(t, s)) != 0 {
			t.Errorf("removed as %s: %v, %v", state, files(t, s), err)
		}
	}
}

func TestARecordThatWasNotWrittenToItsEndIsNone(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	for _, text := range []string{"", `{"id":`, "\x00\x00\x00"} {
		if err := os.WriteFile(s.volumeFile(ID("a"), StateCreating), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, root)
		if s.CountVolumes() != 0 || len(files(t, s)) != 0 {
			t.Errorf("%q: volumes %v, files %v", text, s.Volumes(), files(t, s))
		}
	}
}

func TestOfTwoRecordsThePlainOneWins(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	v := volume("a")
	if err := s.PutVolume(v); err != nil {
		t.Fatal(err)
	}
	for _, state := range []State{StateCreating, StateDeleting} {
		text, err := os.ReadFile(s.volumeFile(v.ID, StateReady))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.volumeFile(v.ID, state), text, 0o600); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, root)
		if got, _ := s.Volume(v.ID); got != v || len(files(t, s)) != 1 {
			t.Errorf("%s: read %+v, files %v", state, got, files(t, s))
		}
	}
}

func TestAnOldRecordWithItsStateInsideCanBeRemoved(t *testing.T) {
	for _, state := range []State{StateCreating, StateDeleting} {
		for _, twice := range []bool{false, true} {
			root := t.TempDir()
			s := openStore(t, root)
			v := volume("a")
			v.State = state
			if twice {
				if err := s.PutVolume(v); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.write(s.volumeFile(v.ID, StateReady), v); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				s = openStore(t, root)
				if got, _ := s.Volume(v.ID); got != v || len(files(t, s)) != 1 {
					t.Errorf("%s: read %+v, files %v", state, got, files(t, s))
				}
			}
			if err := s.RemoveVolume(v.ID); err != nil || len(files(t, s)) != 0 {
				t.Errorf("%s: removed: %v, files %v", state, err, files(t, s))
			}
		}
	}
}

func TestRepairClaims(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	older, newer, deleted := volume("older"), volume("newer"), volume("deleted")
	newer.Created = older.Created.Add(time.Hour)
	deleted.State, deleted.Spec.ClaimName = StateDeleting, "gone"
	for _, v := range []Volume{older, newer, deleted} {
		if err := s.PutVolume(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.LinkClaim(deleted); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.claimsDir(), "notes"), []byte("an administrator's"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"team/data": claimTarget(newer.ID)}
	for range 2 {
		if err := s.RepairClaims(); err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		links, _ := filepath.Glob(filepath.Join(s.claimsDir(), "*", "*"))
		for _, link := range links {
			name, _ := filepath.Rel(s.claimsDir(), link)
			got[name], _ = os.Readlink(link)
		}
		if len(got) != 1 || got["team/data"] != want["team/data"] {
			t.Errorf("links %v", got)
		}
	}
	if _, err := os.Stat(filepath.Join(s.claimsDir(), "notes")); err != nil {
		t.Error(err)
	}
}

func TestHalfWrittenFilesAreRemoved(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	left := []string{filepath.Join(s.Meta(), ".server.json123"), filepath.Join(s.Archive(), ".x.1.1.json123")}
	for _, path := range left {
		if err := os.WriteFile(path, []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, root)
	for _, path := range left {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s was left", path)
		}
	}
}
