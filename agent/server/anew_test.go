package server

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

func TestOnlyFilesStayOpen(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	device, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	socket, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	numbers, err := keepOpen()
	if err != nil {
		t.Fatal(err)
	}
	for _, number := range numbers {
		fd, _ := strconv.Atoi(number)
		defer unix.CloseOnExec(fd)
	}
	for _, file := range []struct {
		fd   uintptr
		kept bool
	}{{f.Fd(), true}, {device.Fd(), false}, {socket.Fd(), false}, {0, false}, {2, false}} {
		if got := slices.Contains(numbers, strconv.Itoa(int(file.fd))); got != file.kept {
			t.Errorf("file %d of %v: %v, want %v", file.fd, numbers, got, file.kept)
		}
	}
}

func TestBegunAnewSaysWhyAndCloses(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	inherited, err := unix.Dup(int(f.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	lost := LostShare{ServerID: "nfs-1", Err: errors.New("no answer")}
	for _, v := range anewVariables(lost, []string{strconv.Itoa(inherited)}) {
		name, value, _ := strings.Cut(v, "=")
		t.Setenv(name, value)
	}
	if c, id, anew := begunAnew(); !anew || id != "nfs-1" || c != (condition{agentv1.ReasonShareUnreachable, "the share is lost: no answer"}) {
		t.Errorf("condition %+v of %s, %v", c, id, anew)
	}
	for { // the number may be given to another file at once
		if path, _ := os.Readlink("/proc/self/fd/" + strconv.Itoa(inherited)); path != f.Name() {
			break
		}
	}
	if c, id, anew := begunAnew(); anew || id != "" {
		t.Errorf("once more: %+v of %s", c, id)
	}
}
