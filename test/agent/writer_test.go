//go:build vm

package agent

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writerVariable makes the test program a writer of the named file. It has to be a process of its own: a fork while the server is
// away waits for it, because the child closes the parent's files.
const writerVariable = "TEST_WRITER"

// lockVariable makes it try to lock the named file, newVariable to make it.
const (
	lockVariable = "TEST_LOCK"
	newVariable  = "TEST_NEW"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(lockVariable); path != "" {
		os.Exit(exitCode(lock(path)))
	}
	if path := os.Getenv(newVariable); path != "" {
		_, err := os.Create(path)
		os.Exit(exitCode(err))
	}
	if path := os.Getenv(writerVariable); path != "" {
		_ = json.NewEncoder(os.Stdout).Encode(write(path))
		return
	}
	if operate() {
		return
	}
	os.Exit(m.Run())
}

func exitCode(err error) int {
	if err != nil {
		_, _ = os.Stderr.WriteString(err.Error() + "\n")
		return 1
	}
	return 0
}

func lock(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK})
}

// tryLock tries to lock a file as another process.
func tryLock(path string) error { return runSelf(lockVariable, path) }

// newFile makes a file as another process.
func newFile(path string) error { return runSelf(newVariable, path) }

func runSelf(variable, path string) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), variable+"="+path)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// written is what a writer has seen.
type written struct {
	Written int64         // bytes acknowledged by fsync
	Longest time.Duration // that one write took
	Error   string
}

// write holds a lock on a file and appends to it with fsync, until SIGTERM. If the server loses the lock, the next write fails.
func write(path string) (w written) {
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	f, err := os.Create(path)
	if err != nil {
		return written{Error: err.Error()}
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err != nil {
		return written{Error: "lock: " + err.Error()}
	}
	_, _ = os.Stdout.WriteString("started\n")
	for {
		select {
		case <-stop:
			return w
		case <-time.After(20 * time.Millisecond):
		}
		begin := time.Now()
		n, err := f.WriteString("0123456789abcde\n")
		if err == nil {
			err = f.Sync()
		}
		w.Longest = max(w.Longest, time.Since(begin))
		if err != nil {
			w.Error = err.Error()
			return w
		}
		w.Written += int64(n)
	}
}

type writer struct {
	cmd   *exec.Cmd
	path  string
	ended chan written
}

func startWriter(t *testing.T, path string) *writer {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), writerVariable+"="+path)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	output := bufio.NewReader(pipe)
	if line, err := output.ReadString('\n'); line != "started\n" {
		t.Fatalf("writer: %q, %v", line, err)
	}
	w := &writer{cmd: cmd, path: path, ended: make(chan written, 1)}
	go func() {
		var got written
		if err := json.NewDecoder(output).Decode(&got); err != nil {
			got.Error = fmt.Sprintf("the writer said nothing at its end: %v", err)
		}
		_ = cmd.Wait()
		w.ended <- got
	}()
	return w
}

// awaitSize waits until the file has at least so many bytes, and says how many.
func (w *writer) awaitSize(t *testing.T, bytes int64) (size int64) {
	t.Helper()
	eventually(t, 2*time.Minute, "it is written to", func() bool {
		select {
		case got := <-w.ended:
			t.Fatalf("the writer ended: %+v", got)
		default:
		}
		if info, err := os.Stat(w.path); err == nil {
			size = info.Size()
		}
		return size >= bytes
	})
	return size
}

// awaitMore waits until something is written that was not yet.
func (w *writer) awaitMore(t *testing.T) {
	t.Helper()
	w.awaitSize(t, w.awaitSize(t, 1)+1)
}

func (w *writer) finish(t *testing.T) written {
	t.Helper()
	_ = w.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case got := <-w.ended:
		return got
	case <-time.After(2 * time.Minute):
		t.Fatal("the writer does not end")
		return written{}
	}
}

// wantAllThere ends the writer and compares the file with what it was told is safe.
func (w *writer) wantAllThere(t *testing.T, name string) written {
	t.Helper()
	got := w.finish(t)
	if text, err := os.ReadFile(w.path); got.Error != "" || err != nil || int64(len(text)) != got.Written {
		t.Errorf("%s: %q; the file has %d bytes, %d were acknowledged (%v)", name, got.Error, len(text), got.Written, err)
	}
	return got
}
