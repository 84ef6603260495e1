package ganesha

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-logr/logr"
)

type nothing struct{}

func (nothing) Exports() []Export            { return nil }
func (nothing) Export(string) (Export, bool) { return Export{}, false }

// fakePrograms puts a dbus-daemon that only makes its socket, and a ganesha.nfsd that does what the script says, first in the PATH. In the
// directory of both is the process id of each start, a line in NAME.pids.
func fakePrograms(t *testing.T, script string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"dbus-daemon":  "#!/bin/sh\necho $$ >> $0.pids\nfor a; do case $a in --config-file=*) : >\"$(dirname \"${a#--config-file=}\")/bus\";; esac; done\nexec sleep 1000\n",
		"ganesha.nfsd": "#!/bin/sh\necho $$ >> $0.pids\n" + script,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	return dir
}

func TestAServerThatDiesIsStartedAgainAndSaysWhy(t *testing.T) {
	fakePrograms(t, `echo "21/11/2026 22:11:20 : epoch 6b : vm : nfs-ganesha-7[main] fsal_load :FSAL :CRIT :Could not load FSAL_VFS: no such file"
echo "21/11/2026 22:11:20 : epoch 6b : vm : nfs-ganesha-7[main] main :NFS STARTUP :FATAL :Fatal errors.  Server exiting..."
exit 2
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := New(testConfig, t.TempDir(), nothing{}, logr.Discard())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	var st Status
	tick, end := time.NewTicker(time.Millisecond), time.Now().Add(time.Minute)
	defer tick.Stop()
	for now := range tick.C {
		// Between two starts it says that it is starting.
		if st = s.Status(); st.Restarts >= 2 && st.Failed || now.After(end) {
			break
		}
	}
	if st.Serving || !st.Failed || st.Restarts < 2 || !strings.Contains(st.Message, "exit status 2") || !strings.Contains(st.Message, "Could not load FSAL_VFS: no such file") {
		t.Errorf("status %+v", st)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestTheEndOfTheServerTakesNoTime: Ganesha's own end takes seconds, and clients wait for the server that comes next.
func TestTheEndOfTheServerTakesNoTime(t *testing.T) {
	dir := t.TempDir()
	fakePrograms(t, `trap 'touch `+dir+`/asked' TERM INT
touch `+dir+`/started
while :; do sleep 0.01; done
`)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- New(testConfig, t.TempDir(), nothing{}, logr.Discard()).Run(ctx) }()
	tick, end := time.NewTicker(time.Millisecond), time.Now().Add(time.Minute)
	defer tick.Stop()
	for now := range tick.C {
		if _, err := os.Stat(filepath.Join(dir, "started")); err == nil {
			break
		}
		if now.After(end) {
			t.Fatal("ganesha.nfsd was not started")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "asked")); err == nil {
		t.Error("ganesha.nfsd was asked to end, and waited for")
	}
}

// TestTheEndOfTheBusStartsBothAgain: a Ganesha without its bus serves on, and can be told of no export.
func TestTheEndOfTheBusStartsBothAgain(t *testing.T) {
	dir := fakePrograms(t, "exec sleep 1000\n")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	s := New(testConfig, t.TempDir(), nothing{}, logr.Discard())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	first := started(t, dir, 1)
	if err := syscall.Kill(first[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	second := started(t, dir, 2)
	if err := syscall.Kill(first[1], 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the first ganesha.nfsd: %v", err)
	}
	if st := s.Status(); !strings.Contains(st.Message, "dbus-daemon ended (signal: killed)") {
		t.Errorf("status %+v", st)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	for _, pid := range second {
		if err := syscall.Kill(pid, 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("process %d is left: %v", pid, err)
		}
	}
}

// started waits for the nth start of dbus-daemon and ganesha.nfsd, and gives their process ids.
func started(t *testing.T, dir string, n int) (pids [2]int) {
	t.Helper()
	tick, end := time.NewTicker(time.Millisecond), time.Now().Add(20*time.Second)
	defer tick.Stop()
	for i, name := range []string{"dbus-daemon", "ganesha.nfsd"} {
		for now := range tick.C {
			text, _ := os.ReadFile(filepath.Join(dir, name+".pids")) // there is none before the first start
			if lines := strings.Fields(string(text)); len(lines) >= n && strings.HasSuffix(string(text), "\n") {
				pids[i], _ = strconv.Atoi(lines[n-1])
				break
			}
			if now.After(end) {
				t.Fatalf("%s was not started %d times: %q", name, n, text)
			}
		}
	}
	return pids
}

func TestBackoff(t *testing.T) {
	for name, c := range map[string]struct {
		ran, last, want time.Duration
	}{
		"after a good run":     {time.Hour, maxBackoff, 0},
		"the first failure":    {time.Second, 0, firstBackoff},
		"the second":           {time.Second, firstBackoff, 2 * firstBackoff},
		"not longer than that": {time.Second, maxBackoff, maxBackoff},
	} {
		if got := nextBackoff(c.ran, c.last); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

type many []Export

func (m many) Exports() []Export          { return m }
func (many) Export(string) (Export, bool) { return Export{}, false }

// With 5,000 exports a busy machine needed more than two minutes. A Ganesha that is ended then is begun anew for ever.
func TestAStartWithManyExportsIsGivenItsTime(t *testing.T) {
	exports := slices.Repeat([]Export{testExport()}, 5000)
	for i := range exports {
		exports[i].Name = strconv.Itoa(i)
	}
	s := New(testConfig, t.TempDir(), many(exports), logr.Discard())
	few := s.startTimeout()
	if _, err := s.exporter.startFile(); err != nil {
		t.Fatal(err)
	}
	if got := s.startTimeout(); few != 2*time.Minute || got < 3*few {
		t.Errorf("%s with no export, %s with %d", few, got, len(exports))
	}
}
