package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// What a program that has begun anew is told: why, whose share or disk it was, and which files of the former one are still open.
const (
	lostVariable   = "NFS_OPERATOR_SHARE_LOST"
	serverVariable = "NFS_OPERATOR_LOST_SERVER"
	openVariable   = "NFS_OPERATOR_SHARE_OPEN"
	diskVariable   = "NFS_OPERATOR_DISK_LOST"
)

// BeginAnew executes the program again, because the share of an external server was lost. Calls that wait for that server may do so for ever:
// NFS 4 gives a call up only when its connection breaks, and that of a server that hangs does not. A thread that waits can be killed,
// though, and execve(2) kills all but one. Files on the share stay open, for closing them would wait, too; the new program does it behind
// its work. It returns only when it cannot.
func (e LostShare) BeginAnew() error {
	files, err := keepOpen()
	if err != nil {
		return err
	}
	return execute(anewVariables(e, files))
}

// BeginAnew executes the program again, because the file system of the disk has shut down, and can be mounted anew only when nothing of it
// is in use: execve(2) ends every thread and closes every file. The container stays, so that the kubelet does not put the start
// off. It returns only when it cannot.
func (e LostDisk) BeginAnew() error {
	return execute(e.variables())
}

func (e LostDisk) variables() []string {
	return []string{diskVariable + "=" + e.Error(), serverVariable + "=" + e.ServerID}
}

func execute(variables []string) error {
	self, err := os.Executable()
	if err == nil {
		err = unix.Exec(self, os.Args, append(os.Environ(), variables...))
	}
	return fmt.Errorf("begin anew: %w", err)
}

func anewVariables(cause LostShare, files []string) []string {
	return []string{lostVariable + "=" + cause.Error(), serverVariable + "=" + cause.ServerID, openVariable + "=" + strings.Join(files, ",")}
}

// keepOpen keeps files, and nothing else, from being closed by execve. None of them is looked at: that could wait.
func keepOpen() (numbers []string, err error) {
	const directory = "/proc/self/fd"
	entries, err := os.ReadDir(directory)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		fd, err := strconv.Atoi(e.Name())
		path, errLink := os.Readlink(filepath.Join(directory, e.Name()))
		if err != nil || errLink != nil || fd <= 2 || !strings.HasPrefix(path, "/") || isKernels(path) {
			continue
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err == nil {
			numbers = append(numbers, e.Name())
		}
	}
	return numbers, nil
}

func isKernels(path string) bool {
	for _, root := range []string{"/proc/", "/sys/", "/dev/"} {
		if strings.HasPrefix(path, root) {
			return true
		}
	}
	return false
}

// begunAnew is why the program was begun anew, if it was, and the identity of the server on the share or disk that it served. What the former one has left open is closed as soon as that can be.
func begunAnew() (c condition, serverID string, anew bool) {
	for number := range strings.SplitSeq(os.Getenv(openVariable), ",") {
		if fd, err := strconv.Atoi(number); err == nil && fd > 2 {
			unix.CloseOnExec(fd) // a child must not hold it
			go func() { _ = unix.Close(fd) }()
		}
	}
	why, anew := os.LookupEnv(lostVariable)
	disk, lostDisk := os.LookupEnv(diskVariable)
	serverID = os.Getenv(serverVariable)
	for _, v := range []string{lostVariable, serverVariable, openVariable, diskVariable} {
		_ = os.Unsetenv(v)
	}
	if lostDisk {
		return condition{agentv1.ReasonDiskFailed, disk}, serverID, true
	}
	return condition{agentv1.ReasonShareUnreachable, why}, serverID, anew
}
