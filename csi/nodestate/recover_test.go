package nodestate

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/mount/fake"
)

// staging makes what a kubelet makes for a staged volume, and mounts something there.
func staging(t *testing.T, m *fake.Mounter, note, source string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "pv")
	path := filepath.Join(dir, stagingName)
	if err := os.MkdirAll(path, 0o750); err != nil {
		t.Fatal(err)
	}
	if note != "" {
		if err := os.WriteFile(filepath.Join(dir, noteName), []byte(note), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.NFS(t.Context(), mount.NFS{Address: "10.0.0.1", Path: source, Target: path}); err != nil {
		t.Fatal(err)
	}
	return path
}

func kubeletNote(handle string) string {
	return fmt.Sprintf(`{"driverName":"csi.nfs-operator.io","volumeHandle":%q,"specVolID":"pv","nodeName":"n","volumeLifecycleMode":"Persistent"}`, handle)
}

func TestUnreadableFilesArePutAside(t *testing.T) {
	good := `{"version":1,"handle":"` + handleA + `","stagingPath":"/a","generation":7}`
	for name, files := range map[string]map[string]string{
		"half a volume":                 {"volume.main.0.aaaaaaaaaaaaaaaa": good[:len(good)/2]},
		"an empty volume":               {"volume.main.0.aaaaaaaaaaaaaaaa": ""},
		"another volume than its name":  {"volume.main.0.bbbbbbbbbbbbbbbb": good},
		"a volume of a newer version":   {"volume.main.0.aaaaaaaaaaaaaaaa": `{"version":2,"handle":"` + handleA + `"}`},
		"a volume that is none":         {"volume.x": `{"handle":"../../x"}`},
		"a server that is none":         {"server.main": `{}`},
		"half a server":                 {"server.main.0": `{"addr`},
		"a generation that is a string": {"generation": `"x"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range files {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			s := open(t, dir, boot, start)
			if got := s.Unreadable(); len(got) != 1 || len(s.Volumes()) != 0 {
				t.Errorf("unreadable: %q, volumes: %v", got, s.Volumes())
			}
			if s.Generation() < start.UnixMicro() {
				t.Errorf("generation is %d", s.Generation())
			}
			if again := open(t, dir, boot, start); len(again.Unreadable()) != 0 {
				t.Errorf("still unreadable: %q", again.Unreadable())
			}
			if aside, err := os.ReadDir(filepath.Join(dir, unreadableDir)); err != nil || len(aside) != 1 {
				t.Errorf("put aside: %v, %v", aside, err)
			}
		})
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, ".generation123"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	open(t, dir, boot, start)
	if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("left over: %v", entries)
	}
}

// A server whose file was lost is told all the same what this node has of it: perhaps nothing.
func TestUnreadableServerIsOpen(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "server.main.0"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s := open(t, dir, boot, start); !slices.Contains(s.OpenShards(), shard0) {
		t.Errorf("open: %v", s.OpenShards())
	}
}

// A process may be killed between the file of a volume and that of its server.
func TestServerOfAVolumeIsOpen(t *testing.T) {
	dir := t.TempDir()
	begin(t, open(t, dir, boot, start), handleA)
	if err := os.Remove(filepath.Join(dir, "server.main.0")); err != nil {
		t.Fatal(err)
	}
	if s := open(t, dir, boot, start); !s.Open(shard0) {
		t.Error("shard is closed, though a volume of it is written down")
	}
}

func TestRecoverFindsWhatIsStaged(t *testing.T) {
	m := &fake.Mounter{}
	path := staging(t, m, kubeletNote(handleA), "/aaaaaaaaaaaaaaaa")
	for _, foreign := range []string{"", "{", `{"driverName":"nfs.csi.k8s.io","volumeHandle":"` + handleB + `"}`, kubeletNote("../../etc")} {
		staging(t, m, foreign, "/bbbbbbbbbbbbbbbb")
	}
	staging(t, m, kubeletNote("main/1/cccccccccccccccc"), "/something-else")

	s := open(t, t.TempDir(), boot, start)
	found, err := s.Recover(m)
	if err != nil || !slices.Equal(found, []string{handleA}) {
		t.Fatalf("Recover = %v, %v", found, err)
	}
	v, ok := s.Get(handleA)
	if !ok || v.StagingPath != path || !v.Recovered || v.Generation == 0 || v.Source != "10.0.0.1:/aaaaaaaaaaaaaaaa" {
		t.Errorf("recovered %+v", v)
	}
	if changed, err := s.Reconcile(m, true); err != nil || len(changed) != 0 {
		t.Errorf("Reconcile = %v, %v", changed, err)
	}
	if again, err := s.Recover(m); err != nil || len(again) != 0 {
		t.Errorf("second Recover = %v, %v", again, err)
	}
}
