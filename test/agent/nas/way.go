package nas

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"testing"
)

// Way is a port at which the server can be reached, and which can be cut: then nothing that is sent arrives, and nobody is told, as when a
// server has lost its power.
type Way struct {
	Port     int
	listener net.Listener

	mu    sync.Mutex
	open  chan struct{} // closed as long as the way is open
	conns []net.Conn
}

// NewWay opens a way. It ends with the test.
func NewWay(tb testing.TB) *Way {
	tb.Helper()
	l, err := net.Listen("tcp", Address+":0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &Way{Port: l.Addr().(*net.TCPAddr).Port, listener: l, open: make(chan struct{})}
	close(w.open)
	go w.serve()
	tb.Cleanup(func() {
		_ = l.Close()
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, c := range w.conns {
			_ = c.Close()
		}
	})
	return w
}

// Option is the mount option that leads this way.
func (w *Way) Option() string { return fmt.Sprintf("port=%d", w.Port) }

// Cut cuts the way: what is on it stays there.
func (w *Way) Cut() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.open = make(chan struct{})
}

// Mend opens it again.
func (w *Way) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.open)
}

func (w *Way) serve() {
	for {
		from, err := w.listener.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", net.JoinHostPort(Address, strconv.Itoa(Port)))
		if err != nil {
			_ = from.Close()
			continue
		}
		w.mu.Lock()
		w.conns = append(w.conns, from, to)
		w.mu.Unlock()
		go w.carry(from, to)
		go w.carry(to, from)
	}
}

func (w *Way) carry(from, to net.Conn) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		w.mu.Lock()
		open := w.open
		w.mu.Unlock()
		<-open
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				break
			}
		}
		if err != nil {
			if err != io.EOF { //nolint:errorlint // nothing is wrapped
				_ = from.Close()
			}
			break
		}
	}
	_ = to.Close()
}
