package server

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

func TestIdentityOfAMountedFilesystem(t *testing.T) {
	empty, foreign, ours := t.TempDir(), t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(ours, store.Init{})
	if err != nil {
		t.Fatal(err)
	}
	id := s.Server().ServerID
	for name, test := range map[string]struct{ dir, wanted, reason string }{
		"new":                       {empty, "", ""},
		"empty where volumes were":  {empty, id, agentv1.ReasonFilesystemChanged},
		"of another server":         {ours, "nfs-another", agentv1.ReasonFilesystemChanged},
		"the right one":             {ours, id, ""},
		"the manager has forgotten": {ours, "", ""},
		"what others have, is told": {foreign, id, ""}, // by useMounted
	} {
		err := (&Server{Options: Options{Config: config.Config{ServerID: test.wanted}}}).checkServerID(test.dir)
		var c conditionError
		if errors.As(err, &c) != (test.reason != "") || c.reason != test.reason {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatADiskCanDo(t *testing.T) {
	s, err := store.Open(t.TempDir(), store.Init{})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SetProbeHandle("43" + "0123456789abcdef0123456789abcdef" + "00"); err != nil {
		t.Fatal(err)
	}
	const known = "01234567-89ab-cdef-0123-456789abcdef"
	for name, test := range map[string]struct {
		mounted *xfs.Mounted
		stable  bool
	}{
		"a device of ours":             {nil, true},
		"a number and its UUID":        {&xfs.Mounted{Numbered: true, UUID: known}, true},
		"a number, another UUID":       {&xfs.Mounted{Numbered: true, UUID: "f" + known[1:]}, false},
		"a number and nothing else":    {&xfs.Mounted{Numbered: true}, false},
		"an identity in its own right": {&xfs.Mounted{}, true},
	} {
		d := &disk{store: s, mounted: test.mounted}
		if got := d.capabilities().GetStableHandles(); got != test.stable {
			t.Errorf("%s: stable handles %t", name, got)
		}
		if d.missing().Quota != !d.capabilities().GetQuota() || d.missing().Reflink != !d.capabilities().GetReflink() {
			t.Errorf("%s: the engine misses %+v, the status says %v", name, d.missing(), d.capabilities())
		}
	}
}
