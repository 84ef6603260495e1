package ganesha

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/go-logr/logr"
)

func TestTheReasonOfAFailedStartIsTheLineThatMatters(t *testing.T) {
	const head = "21/11/2026 22:11:20 : epoch 6b021708 : vm : nfs-ganesha-762[main] "
	lines := []string{
		head + "main :MAIN :EVENT :nfs-ganesha Starting: Ganesha Version 15.2",
		head + "load_rados_config :CONFIG :WARN :Missing RADOS URLs backend library",
		head + "config_errs_to_log :CONFIG :WARN :Config File (/run/n/g.conf:2): Unknown parameter (Grpc_Enable)",
		head + "main :NFS STARTUP :FATAL :Fatal errors.  Server exiting...",
		head + "gsh_libunwind :NFS STARTUP :MAJ :BACKTRACE:",
		head + "gsh_libunwind :NFS STARTUP :MAJ : #0 <unknown symbol> [ip=0x40117550] [sp=0x7fbf937960]",
	}
	l := logReader{log: logr.Discard()}
	l.read(strings.NewReader(strings.Join(lines, "\n")))
	if got, want := l.reason(), "Config File (/run/n/g.conf:2): Unknown parameter (Grpc_Enable)"; got != want {
		t.Errorf("reason %q, want %q", got, want)
	}
	lines = []string{
		head + "init_server_pkgs :NFS STARTUP :CRIT :Error while parsing core configuration",
		head + "main :NFS STARTUP :CRIT :Error setting parameters from configuration file.",
		head + "config_errs_to_log :CONFIG :CRIT :Config File (/run/n/g.conf:3): No IP address found for 127.0.0.1 because:Name or service not known",
		head + "config_errs_to_log :CONFIG :CRIT :Config File (/run/n/g.conf:1): 1 errors while processing parameters for NFS_Core_Param",
		head + "config_errs_to_log :CONFIG :CRIT :Config File (/run/n/g.conf:1): Errors processing block (NFS_Core_Param)",
		head + "config_errs_to_log :CONFIG :CRIT :Config File (/run/n/g.conf:23): 1 (invalid param value) errors found block NFS_Core_Param",
		head + "main :NFS STARTUP :FATAL :Fatal errors.  Server exiting...",
	}
	l.read(strings.NewReader(strings.Join(lines, "\n")))
	if got := l.reason(); !strings.Contains(got, "No IP address found for 127.0.0.1") {
		t.Errorf("reason %q, want the line that the others sum up", got)
	}
	l.read(strings.NewReader("ganesha.nfsd: error while loading shared libraries: libntirpc.so\n"))
	if got := l.reason(); !strings.Contains(got, "libntirpc.so") {
		t.Errorf("reason %q", got)
	}
}

func TestProbe(t *testing.T) {
	for name, c := range map[string]struct {
		status uint32
		ok     bool
	}{"success": {0, true}, "program unavailable": {1, false}} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			go answerOnce(listener, c.status)
			err = Probe(context.Background(), netip.MustParseAddrPort(listener.Addr().String()))
			if (err == nil) != c.ok {
				t.Errorf("error %v", err)
			}
		})
	}
}

// answerOnce is an RPC server for one call.
func answerOnce(l net.Listener, status uint32) {
	conn, err := l.Accept()
	if err != nil {
		return
	}
	defer conn.Close()
	call := make([]byte, len(nullCall()))
	if _, err := io.ReadFull(conn, call); err != nil {
		return
	}
	reply := binary.BigEndian.AppendUint32(nil, 1<<31|24)
	for _, word := range []uint32{binary.BigEndian.Uint32(call[4:]), 1, 0, 0, 0, status} {
		reply = binary.BigEndian.AppendUint32(reply, word)
	}
	_, _ = conn.Write(reply)
}
