//go:build vm && long

package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

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
	unix.SYS_UTIMENSAT: true, unix.SYS_IOCTL: true, unix.SYS_QUOTACTL: true,
	unix.SYS_SETXATTR: true, unix.SYS_FSETXATTR: true, unix.SYS_TRUNCATE: true, unix.SYS_FTRUNCATE: true, unix.SYS_FALLOCATE: true,
}

// systemCall is one that a thread is about to make: its number and two of its arguments.
type systemCall struct{ number, second, third uint64 }

// getQuota is Q_XGETQUOTA without the type, from the kernel's dqblk_xfs.h.
const getQuota = 'X'<<8 + 3

// harmless are those that leave the disk as it is. One that is in neither list is an error: it may have to be counted.
var harmless = map[uint64]bool{
	unix.SYS_READ: true, unix.SYS_PREAD64: true, unix.SYS_CLOSE: true, unix.SYS_OPENAT2: true, unix.SYS_GETDENTS64: true, unix.SYS_LSEEK: true,
	unix.SYS_FSTAT: true, unix.SYS_NEWFSTATAT: true, unix.SYS_STATX: true, unix.SYS_STATFS: true, unix.SYS_FSTATFS: true, unix.SYS_READLINKAT: true,
	unix.SYS_FLISTXATTR: true, unix.SYS_FGETXATTR: true, unix.SYS_FCNTL: true, unix.SYS_FACCESSAT2: true, unix.SYS_UNAME: true,
	unix.SYS_FUTEX: true, unix.SYS_NANOSLEEP: true, unix.SYS_SCHED_YIELD: true, unix.SYS_EPOLL_PWAIT: true, unix.SYS_EPOLL_CTL: true,
	unix.SYS_EPOLL_CREATE1: true, unix.SYS_EVENTFD2: true, unix.SYS_PIPE2: true, unix.SYS_TGKILL: true, unix.SYS_GETPID: true, unix.SYS_GETTID: true,
	unix.SYS_CLONE: true, unix.SYS_MMAP: true, unix.SYS_MUNMAP: true, unix.SYS_MPROTECT: true, unix.SYS_MADVISE: true, unix.SYS_SIGALTSTACK: true,
	unix.SYS_RT_SIGPROCMASK: true, unix.SYS_RT_SIGRETURN: true, unix.SYS_RT_SIGACTION: true, unix.SYS_UNSHARE: true, unix.SYS_UMASK: true,
	unix.SYS_RESTART_SYSCALL: true, unix.SYS_SET_TID_ADDRESS: true, unix.SYS_SET_ROBUST_LIST: true, unix.SYS_RSEQ: true, unix.SYS_PRCTL: true,
	unix.SYS_CLOCK_GETTIME: true, unix.SYS_GETTIMEOFDAY: true, unix.SYS_GETRANDOM: true, unix.SYS_SETPRIORITY: true, unix.SYS_SCHED_GETAFFINITY: true, unix.SYS_PRLIMIT64: true,
	unix.SYS_EXIT: true, unix.SYS_EXIT_GROUP: true,
}

// changesState tells whether a call is to be counted.
func changesState(c systemCall) (bool, error) {
	switch {
	case c.number == unix.SYS_OPENAT:
		return c.third&(unix.O_CREAT|unix.O_TRUNC) != 0, nil
	case c.number == unix.SYS_QUOTACTL_FD:
		return c.second>>8 != getQuota, nil
	case stateChanging[c.number]:
		return true, nil
	case harmless[c.number]:
		return false, nil
	}
	return false, fmt.Errorf("system call %d is in no list: does it change what lies on the disk?", c.number)
}

// tracer runs a program and kills it before one of its system calls.
type tracer struct {
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
			tr.resume(t, thread, ws)
		default:
			delete(tr.threads, thread)
			tr.await(thread)
		}
	}
}

// resume lets a stopped thread go on, unless it is about to make the call before which the program is to end.
func (tr *tracer) resume(t *testing.T, thread int, ws unix.WaitStatus) {
	t.Helper()
	signal := 0
	switch s := ws.StopSignal(); s {
	case marker:
		tr.begin(thread)
		return
	case syscallStop:
		if tr.enter(t, thread) {
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

func (tr *tracer) enter(t *testing.T, thread int) (kill bool) {
	t.Helper()
	result, err := register(thread, unsafe.Offsetof(unix.PtraceRegs{}.Rax))
	if err == nil && int64(result) != -int64(unix.ENOSYS) { // at the end of a call its result is there
		return false
	}
	var c systemCall
	if err == nil {
		c.number, err = register(thread, unsafe.Offsetof(unix.PtraceRegs{}.Orig_rax))
	}
	if err == nil {
		c.second, err = register(thread, unsafe.Offsetof(unix.PtraceRegs{}.Rsi))
	}
	if err == nil {
		c.third, err = register(thread, unsafe.Offsetof(unix.PtraceRegs{}.Rdx))
	}
	counts := false
	if err == nil {
		counts, err = changesState(c)
	}
	if err != nil && !errors.Is(err, unix.ESRCH) { // a thread that has just been killed
		t.Errorf("look at a system call: %v", err)
		return true
	}
	if !counts {
		return false
	}
	tr.calls++
	return tr.calls == tr.killAt
}

// register reads one of a stopped thread's. User-mode Linux gives single ones only.
func register(thread int, offset uintptr) (uint64, error) {
	var word [8]byte
	_, err := unix.PtracePeekUser(thread, offset, word[:])
	return binary.NativeEndian.Uint64(word[:]), err
}
