package store

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func openStore(t *testing.T, root string) *Store {
	t.Helper()
	s, err := Open(root, Init{FilesystemID: "uuid", MkfsOptions: "lts_5.15"})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func volume(name string) Volume {
	return Volume{
		ID: ID(name), Name: name, Spec: Spec{Bytes: mib, ClaimNamespace: "team", ClaimName: "data"},
		ExportID: 1, ProjectID: 1, State: StateReady, Created: time.Unix(1, 0).UTC(),
	}
}

func TestRecordsSurviveReopening(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	v := volume("a")
	snap := Snapshot{ID: ID("s"), Name: "s", SourceVolume: v.ID, ProjectID: 2, State: StateReady}
	n := Node{Name: "node-1.example", Addresses: []string{"10.0.0.1"}, Grants: map[string]Grant{v.ID: {Generation: 3, SingleNode: true}}}
	for _, err := range []error{s.PutVolume(v), s.PutSnapshot(snap), s.PutNode(n)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	left := filepath.Join(s.volumeRecords(), ".record.json123")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	again := openStore(t, root)
	if got := again.Volumes(); !reflect.DeepEqual(got, []Volume{v}) {
		t.Errorf("volumes %+v", got)
	}
	if got := again.Snapshots(); !reflect.DeepEqual(got, []Snapshot{snap}) {
		t.Errorf("snapshots %+v", got)
	}
	if got := again.Nodes(); !reflect.DeepEqual(got, []Node{n}) {
		t.Errorf("nodes %+v", got)
	}
	if again.Server() != s.Server() {
		t.Errorf("server record %+v, was %+v", again.Server(), s.Server())
	}
	if _, err := os.Stat(left); err == nil {
		t.Error("a half-written file was left")
	}
}

func TestOpenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		file, text string
		want       error
	}{
		"a file system with other data": {"letters/mum.txt", "Dear", ErrForeign},
		"a newer format":                {".nfs-operator/server.json", `{"formatVersion":2,"serverID":"x","nextExportID":1,"nextProjectID":1}`, ErrNewerFormat},
		"a broken server record":        {".nfs-operator/server.json", `{`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, c.file)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(c.text), 0o600)); err != nil {
				t.Fatal(err)
			}
			_, err := Open(root, Init{})
			if err == nil || c.want != nil && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
		})
	}
}

func TestABrokenRecordIsAnError(t *testing.T) {
	root := t.TempDir()
	s := openStore(t, root)
	if err := os.WriteFile(s.volumeFile(ID("a"), StateReady), []byte(`{"id":"../../etc"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(root, Init{}); err == nil {
		t.Error("a record with another id was accepted")
	}
}

func TestIDsAreNeverUsedTwice(t *testing.T) {
	root := t.TempDir()
	projects, exports := map[uint32]bool{}, map[uint16]bool{}
	for range 3 { // each reopening is a crash
		s := openStore(t, root)
		for range reserve + 1 {
			project, export, err := s.NewVolumeIDs()
			if err != nil || project == 0 || export == 0 || projects[project] || exports[export] {
				t.Fatalf("ids %d and %d, %v", project, export, err)
			}
			projects[project], exports[export] = true, true
		}
	}
}

func TestExportIDsWrapAndSkipWhatIsInUse(t *testing.T) {
	s := openStore(t, t.TempDir())
	s.ids.export, s.ids.exportEnd = endOfExportIDs-1, endOfExportIDs
	v := volume("a") // holds 1
	if err := s.PutVolume(v); err != nil {
		t.Fatal(err)
	}
	archived := s.ArchiveDir(Discarded{ID: ID("b"), ProjectID: 9, ExportID: 2})
	if err := os.Mkdir(archived, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, want := range []uint16{endOfExportIDs - 1, 3, 4} {
		if _, got, err := s.NewVolumeIDs(); err != nil || got != want {
			t.Errorf("export id %d, %v, want %d", got, err, want)
		}
	}
}

func TestClaimLinks(t *testing.T) {
	s := openStore(t, t.TempDir())
	older, newer := volume("older"), volume("newer")
	link := s.claimLink("team", "data")
	for _, v := range []Volume{older, newer} {
		if err := s.LinkClaim(v); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.UnlinkClaim(older); err != nil {
		t.Fatal(err)
	}
	if got, err := os.Readlink(link); err != nil || got != "../../volumes/"+newer.ID {
		t.Errorf("link %q, %v", got, err)
	}
	if err := s.UnlinkClaim(newer); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(filepath.Dir(link)); err == nil {
		t.Error("the namespace's directory is still there")
	}
	for _, bad := range []string{"..", "a/b", "", "A", strings.Repeat("a", 254)} {
		v := volume("bad")
		v.Spec.ClaimNamespace = bad
		if err := s.LinkClaim(v); err != nil {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if left, err := os.ReadDir(s.claimsDir()); err != nil || len(left) != 0 {
		t.Errorf("links were made for bad names: %v", left)
	}
}

func TestRenameMayBeRepeated(t *testing.T) {
	s := openStore(t, t.TempDir())
	from, to := s.TmpDir(KindVolume, ID("a")), s.VolumeDir(ID("a"))
	if err := os.Mkdir(from, 0o700); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := s.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Rename(from, s.VolumeDir(ID("b"))); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("renaming nothing: %v", err)
	}
}

func TestBallastIsGivenUpWhenTheDiskIsFull(t *testing.T) {
	s := openStore(t, t.TempDir())
	if err := os.WriteFile(s.Ballast(), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.write("/dev/full/nothing", 1); err == nil {
		t.Error("no error")
	}
	if _, err := os.Stat(s.Ballast()); err != nil {
		t.Error("the ballast was dropped for another error than a full disk")
	}
}
