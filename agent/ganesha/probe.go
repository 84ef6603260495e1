package ganesha

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

const probeTimeout = 5 * time.Second

// Probe calls NFS version 4's NULL procedure (RFC 8881, section 17.1), which touches no data and no disk.
func Probe(ctx context.Context, address netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address.String())
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		return err
	}
	if _, err := conn.Write(nullCall()); err != nil {
		return fmt.Errorf("send NULL call: %w", err)
	}
	reply := make([]byte, 28) // record mark, xid, REPLY, MSG_ACCEPTED, verifier (flavour, length), SUCCESS
	if _, err := io.ReadFull(conn, reply); err != nil {
		return fmt.Errorf("read NULL reply: %w", err)
	}
	return checkReply(reply)
}

const (
	probeID      = 0x6e66736f
	lastFragment = 1 << 31
	rpcVersion   = 2
	nfsProgram   = 100003
	nfsVersion   = 4
)

// nullCall is an ONC RPC call (RFC 5531) with empty credentials, as one record.
func nullCall() []byte {
	body := []uint32{probeID, 0, rpcVersion, nfsProgram, nfsVersion, 0, 0, 0, 0, 0}
	call := binary.BigEndian.AppendUint32(nil, lastFragment|uint32(4*len(body)))
	for _, word := range body {
		call = binary.BigEndian.AppendUint32(call, word)
	}
	return call
}

func checkReply(reply []byte) error {
	word := func(i int) uint32 { return binary.BigEndian.Uint32(reply[4*i:]) }
	if word(1) != probeID || word(2) != 1 || word(3) != 0 || word(6) != 0 {
		return errors.New("NULL call was refused")
	}
	return nil
}
