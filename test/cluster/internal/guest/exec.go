package guest

import (
	"bufio"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"
	"time"
)

// ControlPort is where a node accepts commands from the tool that made it. Only the cluster's own network reaches it, and a
// client has to know the cluster's token, for pods are on that network too.
const ControlPort = "10200"

// Kinds of frames that a node sends: one byte, the length as four bytes, the data.
const (
	frameStdout = 1
	frameStderr = 2
	frameExit   = 3
)

type request struct {
	Token string
	Args  []string
}

// Exec runs a command on the node behind the connection and returns its exit code.
func Exec(conn net.Conn, token string, args []string, stdout, stderr io.Writer) (int, error) {
	if err := json.NewEncoder(conn).Encode(request{Token: token, Args: args}); err != nil {
		return 0, fmt.Errorf("send command: %w", err)
	}
	in := bufio.NewReader(conn)
	for {
		var header [5]byte
		if _, err := io.ReadFull(in, header[:]); err != nil {
			return 0, fmt.Errorf("read the command's output: %w", err)
		}
		data := io.LimitReader(in, int64(binary.BigEndian.Uint32(header[1:])))
		to := stdout
		switch header[0] {
		case frameStderr:
			to = stderr
		case frameExit:
			var code int32
			err := binary.Read(data, binary.BigEndian, &code)
			return int(code), err
		}
		if _, err := io.Copy(to, data); err != nil {
			return 0, err
		}
	}
}

// serveControl accepts commands for as long as the node runs.
func serveControl(address, token string) error {
	listener, err := net.Listen("tcp", net.JoinHostPort(address, ControlPort))
	if err != nil {
		return err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				fmt.Fprintln(os.Stderr, "guest: accept:", err)
				return
			}
			go func() {
				defer conn.Close()
				serveCommand(conn, token)
			}()
		}
	}()
	return nil
}

func serveCommand(conn net.Conn, token string) {
	var r request
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	err := json.NewDecoder(io.LimitReader(conn, 1<<20)).Decode(&r)
	if err != nil || subtle.ConstantTimeCompare([]byte(r.Token), []byte(token)) != 1 || len(r.Args) == 0 {
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	frames := &frameWriter{to: conn}
	cmd := exec.Command(r.Args[0], r.Args[1:]...)
	cmd.Stdout, cmd.Stderr = frames.kind(frameStdout), frames.kind(frameStderr)
	cmd.WaitDelay = 2 * time.Second
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(frames.kind(frameStderr), err)
		frames.exit(127)
		return
	}
	go func() { // a client that goes away takes its command with it
		_, _ = conn.Read(make([]byte, 1))
		_ = cmd.Process.Kill()
	}()
	err = cmd.Wait()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) && cmd.ProcessState.Success() {
		fmt.Fprintln(frames.kind(frameStderr), err)
	}
	frames.exit(int32(cmd.ProcessState.ExitCode()))
}

type frameWriter struct {
	mu sync.Mutex
	to io.Writer
}

func (f *frameWriter) kind(k byte) io.Writer { return frameKind{f, k} }

func (f *frameWriter) exit(code int32) {
	var data [4]byte
	binary.BigEndian.PutUint32(data[:], uint32(code))
	_, _ = f.kind(frameExit).Write(data[:])
}

type frameKind struct {
	*frameWriter
	k byte
}

func (f frameKind) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	frame := binary.BigEndian.AppendUint32([]byte{f.k}, uint32(len(p)))
	if _, err := f.to.Write(append(frame, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}
