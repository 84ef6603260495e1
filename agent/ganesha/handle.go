package ganesha

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/go-logr/logr"
)

const (
	handleTimeout = 2 * time.Minute // of a start on a busy machine; it takes a quarter of a second
	// No client looks there, and none but the agent has access. (Bind_Addr = 127.0.0.1 fails where there is no other interface.)
	trialPort = 20490
	// No client ever sees this export, so its number may be one that another export has.
	trialExportID = 65535
	trialName     = "handle"
)

// trialTemplate is a server that serves one directory to the agent itself. It has a recovery directory of its own: the clients'
// records are not to be touched by a server that they cannot reach.
const trialTemplate = `NFS_CORE_PARAM {
	NFS_Port = %d;
` + coreParameters + `}
NFSv4 {
	Minor_Versions = 0, 1, 2;
	Graceless = true;
	RecoveryBackend = fs_ng;
	RecoveryRoot = %s;
	Delegations = false;
}
GRPC { Grpc_Enable = false; }
NFS_KRB5 { Active_krb5 = false; }
EXPORT_DEFAULTS { Access_Type = None; Protocols = 4; Transports = TCP; SecType = sys; }
EXPORT {
	Export_Id = %d;
	Path = %s;
	Pseudo = "/` + trialName + `";
	Filesystem_Id = 1.1;
	Access_Type = None;
	Squash = No_Root_Squash;
	FSAL { Name = VFS; }
	CLIENT { Clients = 127.0.0.1; Access_Type = RO; Protocols = 4; }
}
`

// Handle asks Ganesha itself which file handle it gives a directory, as hexadecimal digits: what clients hold depends on more than the
// file system, such as what libblkid sees. A server on another port answers, before the real one is started: one that hands out
// other handles than its clients hold would give them errors from its first moment on.
func Handle(ctx context.Context, dir, runDir string, log logr.Logger) (string, error) {
	runtime.LockOSThread() // children die with their parent thread
	defer runtime.UnlockOSThread()
	ctx, cancel := context.WithTimeout(ctx, handleTimeout)
	defer cancel()
	work := filepath.Join(runDir, "trial")
	if err := os.RemoveAll(work); err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Join(work, "recovery"), 0o700); err != nil {
		return "", fmt.Errorf("make run directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(work) }()
	file := filepath.Join(work, "ganesha.conf")
	path, err := quote(dir)
	if err != nil {
		return "", err
	}
	recovery, err := quote(filepath.Join(work, "recovery"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(file, fmt.Appendf(nil, trialTemplate, trialPort, recovery, trialExportID, path), 0o600); err != nil {
		return "", fmt.Errorf("write configuration: %w", err)
	}
	reader := &logReader{log: log.V(1)}
	server, err := start(reader, []string{"DBUS_SYSTEM_BUS_ADDRESS=unix:path=" + filepath.Join(work, "nobus")},
		"ganesha.nfsd", "-F", "-x", "-f", file, "-L", "STDERR", "-N", "NIV_EVENT", "-p", filepath.Join(work, "ganesha.pid"))
	if err != nil {
		return "", err
	}
	defer server.kill() // it holds nothing
	return askHandle(ctx, server, reader)
}

func askHandle(ctx context.Context, server *process, reader *logReader) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-server.ended:
			cancel()
		case <-ctx.Done():
		}
	}()
	address := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), trialPort)
	var handle []byte
	err := poll(ctx, func() (err error) {
		handle, err = GetHandle(ctx, address, trialName)
		return err
	})
	if err == nil {
		return hex.EncodeToString(handle), nil
	}
	select {
	case <-server.ended:
		err = fmt.Errorf("ganesha.nfsd ended (%w)", server.err)
	default:
	}
	if reason := reader.reason(); reason != "" {
		err = fmt.Errorf("%w: %s", err, reason)
	}
	return "", fmt.Errorf("ask for a file handle: %w", err)
}

// Operations of NFSv4 (RFC 7530, section 16).
const (
	opGetHandle     = 10
	opLookup        = 15
	opPutRootHandle = 24
	longestHandle   = 128
	longestReply    = 4096
)

var errBadReply = errors.New("reply makes no sense")

// GetHandle asks a server for the file handle of a directory in its root, by NFSv4.0, which needs no session for that.
func GetHandle(ctx context.Context, address netip.AddrPort, name string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(handleCall(name)); err != nil {
		return nil, fmt.Errorf("send call: %w", err)
	}
	mark := make([]byte, 4)
	if _, err := io.ReadFull(conn, mark); err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	length := binary.BigEndian.Uint32(mark)
	if length&lastFragment == 0 || length&^lastFragment > longestReply {
		return nil, errBadReply
	}
	reply := make([]byte, length&^lastFragment)
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, fmt.Errorf("read reply: %w", err)
	}
	return parseHandle(reply)
}

func handleCall(name string) []byte {
	const compound, authSys, noTag, minorVersion, operations = 1, 1, 0, 0, 3
	words := func(b []byte, values ...uint32) []byte {
		for _, v := range values {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	// AUTH_SYS (RFC 5531, appendix A): stamp, empty machine name, uid 0, gid 0, no further groups.
	body := words(nil, probeID, 0, rpcVersion, nfsProgram, nfsVersion, compound, authSys, 20, 0, 0, 0, 0, 0, 0, 0)
	body = words(body, noTag, minorVersion, operations, opPutRootHandle, opLookup, uint32(len(name)))
	body = append(body, name...)
	body = append(body, make([]byte, (4-len(name)%4)%4)...)
	body = words(body, opGetHandle)
	return append(words(nil, lastFragment|uint32(len(body))), body...)
}

// parseHandle reads REPLY, MSG_ACCEPTED, verifier, SUCCESS; status, tag, results.
func parseHandle(reply []byte) ([]byte, error) {
	next := func() uint32 {
		if len(reply) < 4 {
			reply = nil
			return 0xffffffff
		}
		v := binary.BigEndian.Uint32(reply)
		reply = reply[4:]
		return v
	}
	if next() != probeID || next() != 1 || next() != 0 || next() != 0 || next() != 0 || next() != 0 {
		return nil, errors.New("call was refused")
	}
	if status := next(); status != 0 {
		return nil, fmt.Errorf("NFS status %d", status) // RFC 7530, section 13
	}
	if next() != 0 || next() != 3 || next() != opPutRootHandle || next() != 0 || next() != opLookup || next() != 0 ||
		next() != opGetHandle || next() != 0 {
		return nil, errBadReply
	}
	length := next()
	if length == 0 || length > longestHandle || int(length) > len(reply) {
		return nil, errBadReply
	}
	return reply[:length], nil
}
