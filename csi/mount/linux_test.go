package mount

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestErrnoOfChild(t *testing.T) {
	l := NewLinux()
	err := l.Unmount(t.Context(), filepath.Join(t.TempDir(), "missing"))
	if !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EPERM) {
		t.Errorf("Unmount of nothing: %v", err)
	}
	if errno := syscall.Errno(0); !errors.As(err, &errno) {
		t.Errorf("%v is no errno", err)
	}
}

func TestChildIsKilledAtDeadline(t *testing.T) {
	l := NewLinux()
	l.program = hangs(t)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := l.Unmount(ctx, "/a"); !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v, want ErrTimeout", err)
	}
	if !l.busy.TryAcquire("/a") {
		t.Error("the path is busy although the child is gone")
	}
}

func TestChildThatSaysNothingHasFailed(t *testing.T) {
	l := NewLinux()
	l.program = "/bin/true"
	if err := l.Unmount(t.Context(), "/a"); err == nil {
		t.Error("no error")
	}
}

// A child in an uninterruptible wait outlives its kill: what it does to the path may still come.
func TestPathIsBusyWhileChildLives(t *testing.T) {
	dir := t.TempDir()
	ready, held := filepath.Join(dir, "ready"), filepath.Join(dir, "held")
	if err := os.WriteFile(held, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	l := NewLinux()
	// What keeps the child's output is in another session, where the kill does not come.
	l.program = program(t, fmt.Sprintf(`[ -e %[1]s ] || exit 0
setsid sh -c 'touch %[2]s; while [ -e %[1]s ]; do sleep 0.01; done' &
exec sleep 1000
`, held, ready))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	failed := make(chan error)
	go func() { failed <- l.Unmount(ctx, "/a") }()
	eventually(t, "the child has begun", func() bool { _, err := os.Stat(ready); return err == nil })
	cancel()
	if err := <-failed; !errors.Is(err, ErrTimeout) {
		t.Fatalf("got %v, want ErrTimeout", err)
	}
	if err := l.Unmount(ctx, "/a"); !errors.Is(err, ErrBusy) {
		t.Errorf("got %v, want ErrBusy", err)
	}
	if err := os.Remove(held); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the path is free", func() bool { return !errors.Is(l.Unmount(t.Context(), "/a"), ErrBusy) })
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for !condition() {
		select {
		case <-deadline:
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestUsage(t *testing.T) {
	l := NewLinux()
	u, err := l.Usage(t.Context(), t.TempDir())
	if err != nil || u.TotalBytes == 0 || u.UsedBytes+u.AvailableBytes > u.TotalBytes {
		t.Errorf("Usage = %+v, %v", u, err)
	}
	if _, err := l.Usage(t.Context(), "/no/such/path"); !errors.Is(err, unix.ENOENT) {
		t.Errorf("Usage of nothing: %v", err)
	}
}

// While a look at a dead server waits, an unmount does not.
func TestUsageDoesNotKeepUnmountOut(t *testing.T) {
	l := NewLinux()
	l.program = hangs(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	failed := make(chan error)
	go func() {
		_, err := l.Usage(ctx, "/a")
		failed <- err
	}()
	short, cancelShort := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancelShort()
	if err := l.Unmount(short, "/a"); !errors.Is(err, ErrTimeout) {
		t.Errorf("Unmount: %v, want ErrTimeout", err)
	}
	if err := <-failed; !errors.Is(err, ErrTimeout) {
		t.Errorf("Usage: %v, want ErrTimeout", err)
	}
}

// hangs is a program that does not end by itself.
func hangs(t *testing.T) string {
	t.Helper()
	return program(t, "exec sleep 1000\n")
}

// program writes a program of the shell.
func program(t *testing.T, script string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("#!/bin/sh\n"+script), 0o700); err != nil { // a program
		t.Fatal(err)
	}
	return file
}

func TestRemoveDirTakesNothingWithIt(t *testing.T) {
	dir := t.TempDir()
	full := filepath.Join(dir, "full")
	file := filepath.Join(full, "data")
	if err := errors.Join(MakeDir(full), MakeDir(full), os.WriteFile(file, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(full, link); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{full, file, link} {
		if RemoveDir(path) == nil {
			t.Errorf("RemoveDir(%s) succeeded", path)
		}
		if _, err := os.Lstat(path); err != nil {
			t.Error(err)
		}
	}
	if err := RemoveDir(filepath.Join(dir, "missing")); err != nil {
		t.Errorf("RemoveDir of nothing: %v", err)
	}
}

// TestNothingIsMountedAtADirectoryThatWasMadeAnew has a mount find its target early and end late, as one of a slow server does.
func TestNothingIsMountedAtADirectoryThatWasMadeAnew(t *testing.T) {
	runtime.LockOSThread() // and never unlocked: nobody else is to have a thread with these mounts
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Skip("only root can mount")
	}
	path := filepath.Join(t.TempDir(), "globalmount")
	if err := errors.Join(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), MakeDir(path)); err != nil {
		t.Fatal(err)
	}
	found, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = found.Close() }()
	mount := func() error {
		return unix.Mount("late", fmt.Sprintf("/proc/self/task/%d/fd/%d", unix.Gettid(), found.Fd()), "tmpfs", 0, "")
	}
	if err := mount(); err != nil {
		t.Fatal(err)
	}
	if err := RenewDir(path); !errors.Is(err, unix.EBUSY) {
		t.Errorf("mounted already: %v, want EBUSY", err)
	}
	if err := errors.Join(unix.Unmount(path, 0), RenewDir(path)); err != nil {
		t.Fatal(err)
	}
	if err := mount(); !errors.Is(err, unix.ENOENT) {
		t.Errorf("mount ends with %v, want ENOENT", err)
	}
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		t.Errorf("there is %v, %v", info, err)
	}
}

func TestRenewDirTakesAndAddsNothing(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "data")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir, file} {
		if RenewDir(path) == nil {
			t.Errorf("RenewDir(%s) succeeded", path)
		}
	}
	if _, err := os.Lstat(file); err != nil {
		t.Error(err)
	}
	missing := filepath.Join(dir, "missing")
	if err := RenewDir(missing); err != nil {
		t.Errorf("RenewDir of nothing: %v", err)
	}
	if _, err := os.Lstat(missing); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory was made: %v", err)
	}
}

func TestMountsOfThisProcess(t *testing.T) {
	mounts, err := NewLinux().Mounts()
	if err != nil {
		t.Fatal(err)
	}
	proc, ok := At(mounts, "/proc")
	if !ok || proc.FSType != "proc" || proc.IsNFS() || !slices.Contains(proc.Options, "rw") {
		t.Errorf("/proc is %+v, %v", proc, ok)
	}
}

func TestParseFilesystems(t *testing.T) {
	const text = `NV SERVER   PORT DEV          FSID                              FSC
v4 0a600001  801 0:52         2a:7b                             no 
v4 fd000000000000000000000000000001  801 0:53 2b:7b no
`
	got, err := parseFilesystems(strings.NewReader(text))
	want := []Filesystem{{Device: "0:52", FSID: "2a:7b"}, {Device: "0:53", FSID: "2b:7b"}}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestSource(t *testing.T) {
	if got := Source("10.0.0.1", "/x"); got != "10.0.0.1:/x" {
		t.Error(got)
	}
	if got := Source("fd00::1", "/x"); got != "[fd00::1]:/x" {
		t.Error(got)
	}
}

func FuzzParseResult(f *testing.F) {
	f.Add("0 4096 1 2 3 4 5")
	f.Add("38 0 0 0 0 0 0")
	f.Fuzz(func(t *testing.T, text string) {
		if r, ok := parseResult(text); ok {
			if again, ok := parseResult(r.String()); !ok || again != r {
				t.Fatalf("%q became %v, then %v", text, r, again)
			}
		}
	})
}

func TestHost(t *testing.T) {
	for address, path := range map[string]string{"10.0.0.1": "/abc", "fd00::1": "/abc/def"} {
		if got := Host(Source(address, path)); got != address {
			t.Errorf("host of %s is %s", Source(address, path), got)
		}
	}
	if got := Host("tmpfs"); got != "tmpfs" {
		t.Errorf("host of tmpfs is %s", got)
	}
}
