package server

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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
		"no record, but data":       {foreign, id, agentv1.ReasonFilesystemChanged},
		"what others have, is told": {foreign, "", ""}, // by useMounted
	} {
		err := (&Server{Options: Options{Config: config.Config{ServerID: test.wanted}}}).checkServerID(test.dir)
		var c conditionError
		if errors.As(err, &c) != (test.reason != "") || c.reason != test.reason {
			t.Errorf("%s: %v", name, err)
		}
		err = (&Server{Options: Options{Config: config.Config{ServerID: test.wanted, Device: "/dev/sdx"}}}).checkServerID(test.dir)
		if c = (conditionError{}); errors.As(err, &c) != (test.reason != "") || c.reason != strings.Replace(test.reason, "Filesystem", "Disk", 1) {
			t.Errorf("%s, on a device: %v", name, err)
		}
	}
}

// TestIdentityOfADevice: where volumes are known to lie on a server, a device is refused before anything is written unless it is that server's.
func TestIdentityOfADevice(t *testing.T) {
	const uuid, other = "01234567-89ab-cdef-0123-456789abcdef", "f1234567-89ab-cdef-0123-456789abcdef"
	id := store.ServerIDOf(uuid)
	const early, unread = "nfs-random", "no such file"
	for name, test := range map[string]struct {
		wanted   string
		found    xfs.Content
		recorded string
		says     string
	}{
		"blank":                     {"", xfs.Content{Kind: xfs.Blank}, "", ""},
		"unfinished":                {"", xfs.Content{Kind: xfs.Unfinished}, "", ""},
		"adopted":                   {"", xfs.Content{Kind: xfs.Ours, UUID: uuid}, "", ""},
		"the right one":             {id, xfs.Content{Kind: xfs.Ours, UUID: uuid}, "", ""},
		"of an early version":       {early, xfs.Content{Kind: xfs.Ours, UUID: uuid}, early, ""},
		"blank, was not":            {id, xfs.Content{Kind: xfs.Blank}, "", "is blank"},
		"unfinished, was not":       {id, xfs.Content{Kind: xfs.Unfinished}, "", "never finished"},
		"of another server":         {id, xfs.Content{Kind: xfs.Ours, UUID: other}, store.ServerIDOf(other), "the disk of server " + store.ServerIDOf(other)},
		"of another, early version": {id, xfs.Content{Kind: xfs.Ours, UUID: other}, early, "the disk of server " + early},
		"without a record":          {id, xfs.Content{Kind: xfs.Ours, UUID: other}, "", "the disk of server " + store.ServerIDOf(other) + ", and has no record that can be read and says otherwise (" + unread},
		"overwritten, not by us":    {id, xfs.Content{Kind: xfs.Foreign, Found: "ext4 file system"}, "", "holds ext4 file system"},
	} {
		err := checkDevice("/dev/sdx", test.wanted, test.found, func() (string, error) {
			if test.recorded == "" {
				return "", errors.New(unread)
			}
			return test.recorded, nil
		})
		var c conditionError
		switch {
		case test.says == "":
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
		case !errors.As(err, &c) || c.reason != agentv1.ReasonDiskChanged || !strings.Contains(err.Error(), test.says) || !strings.Contains(err.Error(), id):
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
