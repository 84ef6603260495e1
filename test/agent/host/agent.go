package host

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	startTimeout = 150 * time.Second
	stopTimeout  = 30 * time.Second
)

// Agent is a running agent, the whole process with its children.
type Agent struct {
	host   *Host
	data   string // where its disk is mounted, seen from outside
	health string // address of its health server
	cmd    *exec.Cmd
	log    *os.File
	done   chan struct{}
}

// Start starts an agent and does not wait for it to serve. At the end of the test it is killed, its disk is unmounted, and its log
// is shown if the test failed.
func (h *Host) Start(tb testing.TB, c config.Config) *Agent {
	tb.Helper()
	return h.start(tb, c, "/run/agent.yaml", fmt.Sprintf("127.0.0.1:%d", names.PortAgentHealth))
}

// StartSecond starts an agent beside another. Only its health server can be asked.
func (h *Host) StartSecond(tb testing.TB, c config.Config) *Agent {
	tb.Helper()
	const listen, health = "127.0.0.1:19060", "127.0.0.1:19061"
	return h.start(tb, c, "/run/second.yaml", health, "--listen="+listen, "--health-address="+health)
}

func (h *Host) start(tb testing.TB, c config.Config, file, health string, flags ...string) *Agent {
	tb.Helper()
	text, err := c.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(h.Path(file), text, 0o600); err != nil {
		tb.Fatal(err)
	}
	log, err := os.CreateTemp(h.Path("/tmp"), "agent-*.log")
	if err != nil {
		tb.Fatal(err)
	}
	a := &Agent{host: h, data: h.Path(c.DataDir), health: health, log: log, done: make(chan struct{})}
	a.cmd = exec.Command(binaryPath, append([]string{"agent", "--config=" + file, "--exports=" + exportsFile, "--tls-dir=" + tlsDir, "--run-dir=" + runDir, "--verbose"}, flags...)...)
	a.cmd.Path = binaryPath
	a.cmd.Err = nil // it was looked for outside of the chroot
	a.cmd.Dir = "/"
	a.cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	a.cmd.Stdout, a.cmd.Stderr = log, log
	a.cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: h.root, Cloneflags: syscall.CLONE_NEWUTS}
	if err := a.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = a.cmd.Wait()
		close(a.done)
	}()
	tb.Cleanup(func() { a.cleanUp(tb) })
	return a
}

func (a *Agent) cleanUp(tb testing.TB) {
	tb.Helper()
	a.Kill()
	_ = unix.Unmount(a.data, unix.MNT_DETACH)
	if tb.Failed() {
		tb.Logf("agent's log:\n%s", a.Log())
	}
	a.log.Close()
}

// WriteExports replaces the configuration of static exports, as the kubelet does: agents see the old text or the new one.
func (h *Host) WriteExports(tb testing.TB, e config.Exports) {
	tb.Helper()
	text, err := e.Marshal()
	if err != nil {
		tb.Fatal(err)
	}
	h.WriteExportsText(tb, text)
}

// WriteExportsText does the same with any text.
func (h *Host) WriteExportsText(tb testing.TB, text []byte) {
	tb.Helper()
	path := h.Path(exportsFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.Remove(path) })
}

// Kill ends the agent as kill -9 does, and waits until Ganesha is gone too.
func (a *Agent) Kill() {
	_ = a.cmd.Process.Kill()
	<-a.done
	waitForEnd("ganesha.nfsd")
	waitForEnd("dbus-daemon")
}

// Stop ends the agent as the kubelet does, and returns how long that took.
func (a *Agent) Stop(tb testing.TB) time.Duration {
	tb.Helper()
	begin := time.Now()
	_ = a.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.done:
	case <-time.After(stopTimeout):
		tb.Fatal("agent does not stop")
	}
	return time.Since(begin)
}

// Log is everything that the agent has logged.
func (a *Agent) Log() string {
	text, err := os.ReadFile(a.log.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// WaitServing returns when the agent is ready.
func (a *Agent) WaitServing(tb testing.TB) {
	tb.Helper()
	var last string
	for end := time.Now().Add(startTimeout); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var code int
		if code, last = a.Get("/readyz"); code == http.StatusOK {
			return
		}
	}
	tb.Fatalf("agent does not serve: %s\nits log:\n%s", last, a.Log())
}

// Get asks the agent's health server.
func (a *Agent) Get(path string) (code int, body string) {
	resp, err := http.Get(fmt.Sprintf("http://%s%s", a.health, path))
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, strings.TrimSpace(string(text))
}

// KillGanesha kills the NFS server below the agent.
func KillGanesha(tb testing.TB) {
	tb.Helper()
	pids := Processes("ganesha.nfsd")
	if len(pids) != 1 {
		tb.Fatalf("%d processes ganesha.nfsd, want 1", len(pids))
	}
	if err := syscall.Kill(pids[0], syscall.SIGKILL); err != nil {
		tb.Fatal(err)
	}
}

// GaneshaCPU is the processor time that the NFS server has used, in steps of 10 ms.
func GaneshaCPU(tb testing.TB) time.Duration {
	tb.Helper()
	pids := Processes("ganesha.nfsd")
	if len(pids) != 1 {
		tb.Fatalf("%d processes ganesha.nfsd, want 1", len(pids))
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pids[0]))
	if err != nil {
		tb.Fatal(err)
	}
	const utime, stime, tick = 11, 12, 10 * time.Millisecond // proc_pid_stat(5), after the name; USER_HZ
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var ticks time.Duration
	for _, i := range []int{utime, stime} {
		n, err := strconv.Atoi(fields[i])
		if err != nil {
			tb.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * tick
}

func waitForEnd(name string) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end) && len(Processes(name)) > 0; {
		time.Sleep(10 * time.Millisecond)
	}
}

// Processes lists the process ids of a program. A virtual machine has nobody else's.
func Processes(name string) []int {
	files, _ := filepath.Glob("/proc/[0-9]*/comm")
	var pids []int
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || strings.TrimSpace(string(text)) != name {
			continue
		}
		var pid int
		if _, err := fmt.Sscanf(file, "/proc/%d/comm", &pid); err == nil && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func zombie(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(text), ") Z ")
}
