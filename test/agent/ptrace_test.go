//go:build vm && long

package agent

import (
	"maps"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// marker is the signal by which the traced program says that its system calls count from now on. Until then it runs at full speed.
const marker = syscall.SIGUSR1

func mark() {
	runtime.LockOSThread() // a signal for the process could stop another thread, and this one would go on
	defer runtime.UnlockOSThread()
	_ = unix.Tgkill(os.Getpid(), unix.Gettid(), marker)
}

// stateChanging are the system calls that change what a later process finds on the disk. Opening counts when it may make a file.
var stateChanging = map[uint64]bool{
	unix.SYS_WRITE: true, unix.SYS_PWRITE64: true, unix.SYS_FSYNC: true, unix.SYS_FDATASYNC: true, unix.SYS_SYNCFS: true,
	unix.SYS_RENAME: true, unix.SYS_RENAMEAT: true, unix.SYS_RENAMEAT2: true, unix.SYS_LINK: true, unix.SYS_LINKAT: true,
	unix.SYS_SYMLINK: true, unix.SYS_SYMLINKAT: true, unix.SYS_UNLINK: true, unix.SYS_UNLINKAT: true, unix.SYS_RMDIR: true,
	unix.SYS_MKDIR: true, unix.SYS_MKDIRAT: true, unix.SYS_MKNOD: true, unix.SYS_MKNODAT: true,
	unix.SYS_CHMOD: true, unix.SYS_FCHMOD: true, unix.SYS_FCHMODAT: true, unix.SYS_CHOWN: true, unix.SYS_FCHOWN: true, unix.SYS_FCHOWNAT: true,
	unix.SYS_UTIMENSAT: true, unix.SYS_IOCTL: true, unix.SYS_QUOTACTL: true, unix.SYS_QUOTACTL_FD: true,
	unix.SYS_SETXATTR: true, unix.SYS_FSETXATTR: true, unix.SYS_TRUNCATE: true, unix.SYS_FTRUNCATE: true, unix.SYS_FALLOCATE: true,
}

func changesState(r *unix.PtraceRegs) bool {
	if r.Orig_rax == unix.SYS_OPENAT {
		return r.Rdx&unix.O_CREAT != 0
	}
	return stateChanging[r.Orig_rax]
}

// tracer runs a program and kills it before one of its system calls.
type tracer struct {
	counts func(*unix.PtraceRegs) bool
	killAt int // the first is 1

	pid     int
	threads map[int]bool
	awaited map[int]bool // threads that are still to be stopped once, so that their system calls stop them from then on
	marking int          // the thread that waits for them; 0 before
	calls   int
}

const (
	traceTimeout = 2 * time.Minute
	syscallStop  = syscall.SIGTRAP | 0x80
)

// run returns whether the program was killed; else it came to its end, which must be exit code 0.
func (tr *tracer) run(t *testing.T, cmd *exec.Cmd) (killed bool) {
	t.Helper()
	runtime.LockOSThread() // a tracer is a thread
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Wait() }() // for its pipes; the process is reaped here
	tr.pid = cmd.Process.Pid
	tr.threads = map[int]bool{tr.pid: true}
	timer := time.AfterFunc(traceTimeout, func() { _ = unix.Kill(tr.pid, unix.SIGKILL) })
	defer timer.Stop()
	begin := time.Now()
	var ws unix.WaitStatus
	if _, err := unix.Wait4(tr.pid, &ws, unix.WALL, nil); err != nil {
		t.Fatalf("wait for the traced program: %v", err)
	}
	if err := unix.PtraceSetOptions(tr.pid, unix.PTRACE_O_TRACESYSGOOD|unix.PTRACE_O_TRACECLONE|unix.PTRACE_O_EXITKILL); err != nil {
		t.Fatalf("set options of ptrace: %v", err)
	}
	_ = unix.PtraceCont(tr.pid, 0)
	for {
		thread, err := unix.Wait4(-1, &ws, unix.WALL, nil)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			t.Fatalf("wait for the traced program: %v", err)
		}
		switch {
		case thread == tr.pid && (ws.Exited() || ws.Signaled()):
			if killed = ws.Signaled(); killed && time.Since(begin) >= traceTimeout {
				t.Fatalf("the program did not end in %s", traceTimeout)
			}
			if !killed && ws.ExitStatus() != 0 {
				t.Fatalf("the program ended with code %d", ws.ExitStatus())
			}
			return killed
		case ws.Stopped():
			tr.threads[thread] = true
			tr.resume(thread, ws)
		default:
			delete(tr.threads, thread)
			tr.await(thread)
		}
	}
}

// resume lets a stopped thread go on, unless it is about to make the call before which the program is to end.
func (tr *tracer) resume(thread int, ws unix.WaitStatus) {
	signal := 0
	switch s := ws.StopSignal(); s {
	case marker:
		tr.begin(thread)
		return
	case syscallStop:
		if tr.enter(thread) {
			_ = unix.Kill(tr.pid, unix.SIGKILL)
			return
		}
	case syscall.SIGTRAP, syscall.SIGSTOP, syscall.SIGURG: // a new thread; Go's own preemption, and ours
	default:
		signal = int(s)
	}
	if tr.marking == 0 {
		_ = unix.PtraceCont(thread, signal)
		return
	}
	_ = unix.PtraceSyscall(thread, signal)
	tr.await(thread)
}

// begin stops every other thread once. The one that marked goes on when all of them have been seen.
func (tr *tracer) begin(thread int) {
	tr.marking, tr.awaited = thread, maps.Clone(tr.threads)
	for other := range tr.threads {
		if other != thread {
			_ = unix.Tgkill(tr.pid, other, unix.SIGURG)
		}
	}
	tr.await(thread)
}

func (tr *tracer) await(thread int) {
	if !tr.awaited[thread] {
		return
	}
	if delete(tr.awaited, thread); len(tr.awaited) == 0 {
		_ = unix.PtraceSyscall(tr.marking, 0)
	}
}

func (tr *tracer) enter(thread int) (kill bool) {
	var r unix.PtraceRegs
	if unix.PtraceGetRegs(thread, &r) != nil || int64(r.Rax) != -int64(unix.ENOSYS) { // at the end of a call its result is there
		return false
	}
	if !tr.counts(&r) {
		return false
	}
	tr.calls++
	return tr.calls == tr.killAt
}
