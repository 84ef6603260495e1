package server

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/service"
	"github.com/nfs-operator/nfs-operator/agent/share"
	"github.com/nfs-operator/nfs-operator/agent/store"
)

func TestGaneshaVersion(t *testing.T) {
	for out, want := range map[string]string{"NFS-Ganesha Release = V15.2\n": "15.2", "something else": "", "": ""} {
		if got := parseGaneshaVersion(out); got != want {
			t.Errorf("%q: %q, want %q", out, got, want)
		}
	}
}

func TestAServerWithoutItsDiskSaysWhy(t *testing.T) {
	s := &Server{Options: Options{Log: logr.Discard()}, metrics: newMetrics()}
	s.service = service.New(s.status)
	s.metrics.watch(s)
	s.report(condition{agentv1.ReasonDeviceNotBlank, "/dev/x holds ext4"})
	for path, want := range map[string]struct {
		code int
		text string
	}{
		"/livez":   {http.StatusOK, "ok"},
		"/readyz":  {http.StatusServiceUnavailable, "DeviceNotBlank: /dev/x holds ext4"},
		"/metrics": {http.StatusOK, "nfs_operator_server_serving 0"},
	} {
		rec := httptest.NewRecorder()
		s.healthHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, path, nil))
		if rec.Code != want.code || !strings.Contains(rec.Body.String(), want.text) {
			t.Errorf("%s: %d %s", path, rec.Code, rec.Body)
		}
	}
	if st := s.status(nil); st.GetServing() || st.GetReason() != agentv1.ReasonDeviceNotBlank {
		t.Errorf("status %v", st)
	}
}

// A server that holds nothing may have its disk deleted: one that is stopping must not look like it.
func TestAServerThatStopsDoesNotLookEmpty(t *testing.T) {
	s := &Server{Options: Options{Log: logr.Discard()}, metrics: newMetrics(), share: &share.Share{}}
	if st := s.status(nil); st.GetServing() || st.GetReason() != agentv1.ReasonStopping {
		t.Errorf("status %v", st)
	}
}

// hanging is a file system of which nobody is told how much it holds.
type hanging struct {
	engine.Filesystem
	until chan struct{}
}

func (f hanging) Space() (total, used int64, err error) { <-f.until; return 0, 0, nil }

func TestTheStatusDoesNotWaitForADiskThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		records, err := store.Open(t.TempDir(), store.Init{FilesystemID: "uuid"})
		if err != nil {
			t.Fatal(err)
		}
		disk := hanging{until: make(chan struct{})}
		defer close(disk.until)
		book := access.New(records, time.Minute, time.Now, logr.Discard())
		core := &service.Core{Access: book, Engine: engine.New(engine.Options{
			Store: records, Filesystem: disk, Access: book, Now: time.Now, Log: logr.Discard(),
		})}
		s := &Server{Options: Options{Log: logr.Discard()}, metrics: newMetrics(), share: &share.Share{}}
		if st := s.status(core); st.GetServing() || st.GetReason() != agentv1.ReasonDiskFailed {
			t.Errorf("it looks empty: %v", st)
		}
		v := store.Volume{ID: store.ID("pvc-1"), Name: "pvc-1", ExportID: 1, ProjectID: 1, State: store.StateReady}
		if err := records.PutVolume(v); err != nil {
			t.Fatal(err)
		}
		st := s.status(core)
		if !st.GetServing() || st.GetVolumes() != 1 || st.GetCapacity() != nil || len(st.GetWarnings()) != 1 || !strings.Contains(st.GetWarnings()[0], "does not answer") {
			t.Errorf("status %v", st)
		}
	})
}

// TestADiskThatHasGrownTooFarIsWarnedOf: 10 GiB that became 1 TiB have 410 groups (seen); those of a large disk cannot be fewer.
func TestADiskThatHasGrownTooFarIsWarnedOf(t *testing.T) {
	for _, c := range []struct {
		groups, bytes int64
		warns         bool
	}{{4, 10 << 30 / 4, false}, {80, 10 << 30 / 4, false}, {410, 10 << 30 / 4, true}, {200, 1 << 40, false}} {
		records, err := store.Open(t.TempDir(), store.Init{FilesystemID: "uuid"})
		if err != nil {
			t.Fatal(err)
		}
		book := access.New(records, time.Minute, time.Now, logr.Discard())
		core := &service.Core{Access: book, Engine: engine.New(engine.Options{
			Store: records, Filesystem: full{}, Access: book, Now: time.Now, Log: logr.Discard(),
		})}
		s := &Server{Options: Options{Log: logr.Discard()}, metrics: newMetrics(), grownTooFar: warnOfGroups(c.groups, c.bytes)}
		warnings := strings.Join(s.status(core).GetWarnings(), "; ")
		if strings.Contains(warnings, "grown to many times") != c.warns {
			t.Errorf("%d groups of %d bytes: the warnings are %q", c.groups, c.bytes, warnings)
		}
	}
}

// full is a file system of which everything is used.
type full struct{ engine.Filesystem }

func (full) Space() (total, used int64, err error) { return 1 << 30, 1 << 30, nil }

// What a share cannot do is said by its capabilities, of which the manager makes status.limitations, and not a second time.
func TestWhatAShareCannotDoIsNoWarning(t *testing.T) {
	s := &Server{Options: Options{Log: logr.Discard()}, metrics: newMetrics(), facts: facts{capabilities: &agentv1.Capabilities{}}}
	if st := s.status(nil); st.GetCapabilities() == nil || len(st.GetWarnings()) > 0 {
		t.Errorf("status %v", st)
	}
}

// TestGaneshaThatHangsIsNotAskedForEver: the server would not be served, for a version that only people read.
func TestGaneshaThatHangsIsNotAskedForEver(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ganesha.nfsd"), []byte("#!/bin/sh\nexec sleep 1000\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	defer func(d time.Duration) { versionTimeout = d }(versionTimeout)
	versionTimeout = 100 * time.Millisecond
	answered := make(chan string, 1)
	go func() { answered <- ganeshaVersion(t.Context()) }()
	select {
	case v := <-answered:
		if v != "" {
			t.Errorf("version %q", v)
		}
	case <-time.After(30 * time.Second):
		t.Error("it is still asked")
	}
}
