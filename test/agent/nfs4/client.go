// Package nfs4 is an NFSv4.1 client (RFC 8881) that does what a kernel's would not: it sends whatever file handle it is given, and
// vanishes without a word. It knows just what tests need, and is no use for anything else.
package nfs4

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// Handle is a file handle. Ganesha's begins with a version, flags and, at ExportIDOffset, the number of its export.
type Handle []byte

// ExportIDOffset is where the two bytes of the export's number lie in Ganesha's handles.
const ExportIDOffset = 2

// WithExport is the same handle with another's export number.
func (h Handle) WithExport(other Handle) Handle {
	forged := append(Handle(nil), h...)
	copy(forged[ExportIDOffset:ExportIDOffset+2], other[ExportIDOffset:])
	return forged
}

// Status is an NFSv4 status (RFC 8881, section 15) other than NFS4_OK.
type Status uint32

const (
	ErrNoEntry Status = 2
	ErrAccess  Status = 13
	ErrStale   Status = 70
	ErrGrace   Status = 10013
	ErrDenied  Status = 10010
)

func (s Status) Error() string { return fmt.Sprintf("NFS status %d", uint32(s)) }

const (
	callTimeout = 60 * time.Second
	maxReply    = 2 << 20

	opGetHandle = 10
	opLock      = 12
	opLookup    = 15
	opOpen      = 18
	opPutHandle = 22
	opPutRoot   = 24
	opRead      = 25
	opExchange  = 42
	opCreate    = 43
	opEnd       = 44
	opSequence  = 53
	opForget    = 57
	opReclaimed = 58
)

// Client is one client with one session of one slot. It is not safe for concurrent use.
type Client struct {
	conn    net.Conn
	owner   string
	xid     uint32
	id      uint64
	session [16]byte
	seq     uint32
}

// Dial connects from a port below 1024 and makes a session. The owner is the client's name in the server's records.
func Dial(address, owner string) (*Client, error) {
	conn, err := connect(address)
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, owner: owner, xid: 1}
	if err := c.begin(); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return c, nil
}

func connect(address string) (conn net.Conn, err error) {
	for port := 600; port < 1024; port++ { // the kernel's clients take theirs from the other end
		d := net.Dialer{Timeout: callTimeout, LocalAddr: &net.TCPAddr{Port: port}}
		conn, err = d.Dial("tcp", address)
		if !errors.Is(err, syscall.EADDRINUSE) && !errors.Is(err, syscall.EADDRNOTAVAIL) {
			break
		}
	}
	return conn, err
}

// Vanish closes the connection and says nothing to the server, which keeps the client's state until its lease is over.
func (c *Client) Vanish() { _ = c.conn.Close() }

// Leave ends the session and lets the server forget the client: as long as it is remembered, a restart of the server waits for it.
func (c *Client) Leave() error {
	var end, forget writer
	end.word(opEnd)
	end.raw(c.session[:])
	_, err := c.compound(end, 1)
	if err == nil {
		forget.word(opForget)
		forget.long(c.id)
		_, err = c.compound(forget, 1)
	}
	return errors.Join(err, c.conn.Close())
}

func (c *Client) begin() error {
	var verifier [8]byte
	if _, err := rand.Read(verifier[:]); err != nil {
		return err
	}
	var m writer
	m.word(opExchange)
	m.raw(verifier[:])
	m.opaque([]byte(c.owner))
	m.word(0, 0, 0) // flags, SP4_NONE, no implementation id
	r, err := c.compound(m, 1)
	if err != nil {
		return fmt.Errorf("EXCHANGE_ID: %w", err)
	}
	r.operation(opExchange)
	c.id = r.long()
	sequence := r.word()
	if r.err != nil {
		return r.err
	}
	m = writer{}
	m.word(opCreate)
	m.long(c.id)
	m.word(sequence, 0)
	for range 2 { // attributes of both channels
		m.word(0, 1<<20, 1<<20, 4096, 16, 1, 0)
	}
	m.word(0x40000000, 1, 0) // callback program; one security flavour, AUTH_NONE
	if r, err = c.compound(m, 1); err != nil {
		return fmt.Errorf("CREATE_SESSION: %w", err)
	}
	r.operation(opCreate)
	copy(c.session[:], r.raw(16))
	return r.err
}

// Reclaimed says that the client has nothing (more) to reclaim. Until then it can open nothing.
func (c *Client) Reclaimed() error {
	var m writer
	m.word(opReclaimed, 0)
	_, err := c.call(m, 1)
	return err
}

// Lookup finds a file by its path from the server's root.
func (c *Client) Lookup(path ...string) (Handle, error) {
	var m writer
	m.word(opPutRoot)
	for _, name := range path {
		m.word(opLookup)
		m.opaque([]byte(name))
	}
	m.word(opGetHandle)
	r, err := c.call(m, 2+len(path))
	if err != nil {
		return nil, err
	}
	r.operation(opPutRoot)
	for range path {
		r.operation(opLookup)
	}
	r.operation(opGetHandle)
	return Handle(r.opaque()), r.err
}

// Read reads from a handle without opening it.
func (c *Client) Read(h Handle, count uint32) ([]byte, error) {
	var m writer
	m.word(opPutHandle)
	m.opaque(h)
	m.word(opRead)
	m.raw(make([]byte, 16)) // the anonymous stateid
	m.long(0)
	m.word(count)
	r, err := c.call(m, 2)
	if err != nil {
		return nil, err
	}
	r.operation(opPutHandle)
	r.operation(opRead)
	r.word() // end of file
	return r.opaque(), r.err
}

// OpenAndLock makes or opens a file in a directory, and locks all of it for writing.
func (c *Client) OpenAndLock(dir Handle, name string) error {
	const both, noDeny, create, unchecked, claimNull = 3, 0, 1, 0, 0
	var m writer
	m.word(opPutHandle)
	m.opaque(dir)
	m.word(opOpen, 0, both, noDeny)
	m.long(c.id)
	m.opaque([]byte("open"))
	m.word(create, unchecked, 2, 0, 1<<1, 4, 0o666) // attributes: the mode
	m.word(claimNull)
	m.opaque([]byte(name))
	m.word(opGetHandle)
	r, err := c.call(m, 3)
	if err != nil {
		return fmt.Errorf("OPEN: %w", err)
	}
	r.operation(opPutHandle)
	r.operation(opOpen)
	state := r.raw(16)
	r.raw(4 + 8 + 8 + 4) // change info, flags
	for range r.word() { // attributes set
		r.word()
	}
	if r.word() == 3 { // no delegation, and why
		if why := r.word(); why == 1 || why == 2 {
			r.word()
		}
	}
	r.operation(opGetHandle)
	file := r.opaque()
	if r.err != nil {
		return r.err
	}
	m = writer{}
	m.word(opPutHandle)
	m.opaque(file)
	m.word(opLock, 2, 0) // WRITE_LT, no reclaim
	m.long(0)
	m.long(^uint64(0))
	m.word(1, 0) // a new lock owner
	m.raw(state)
	m.word(0)
	m.long(c.id)
	m.opaque([]byte("lock"))
	if _, err := c.call(m, 2); err != nil {
		return fmt.Errorf("LOCK: %w", err)
	}
	return nil
}

// Renew renews the lease of all that the client holds.
func (c *Client) Renew() error {
	_, err := c.call(writer{}, 0)
	return err
}

// call sends operations in the session.
func (c *Client) call(m writer, operations int) (*reader, error) {
	c.seq++
	var s writer
	s.word(opSequence)
	s.raw(c.session[:])
	s.word(c.seq, 0, 0, 0)
	s.raw(m.b)
	r, err := c.compound(s, operations+1)
	if err != nil {
		return nil, err
	}
	r.operation(opSequence)
	r.raw(16 + 5*4)
	return r, r.err
}

// compound sends operations and returns a reader of their results; an error is the status of the one that failed.
func (c *Client) compound(operations writer, n int) (*reader, error) {
	const call, rpcVersion, program, version, compound, authSys, minorVersion = 0, 2, 100003, 4, 1, 1, 1
	c.xid++
	var m writer
	m.word(c.xid, call, rpcVersion, program, version, compound)
	m.word(authSys, 20, 0, 0, 0, 0, 0) // stamp, no machine name, uid 0, gid 0, no groups
	m.word(0, 0)                       // no verifier
	m.word(0, minorVersion, uint32(n)) // no tag
	m.raw(operations.b)
	if err := c.conn.SetDeadline(time.Now().Add(callTimeout)); err != nil {
		return nil, err
	}
	if _, err := c.conn.Write(append(binary.BigEndian.AppendUint32(nil, 1<<31|uint32(len(m.b))), m.b...)); err != nil {
		return nil, err
	}
	mark := make([]byte, 4)
	if _, err := io.ReadFull(c.conn, mark); err != nil {
		return nil, err
	}
	length := binary.BigEndian.Uint32(mark) &^ (1 << 31)
	if length > maxReply {
		return nil, errors.New("reply is too long")
	}
	reply := make([]byte, length)
	if _, err := io.ReadFull(c.conn, reply); err != nil {
		return nil, err
	}
	r := &reader{b: reply}
	if r.word() != c.xid || r.word() != 1 || r.word() != 0 {
		return nil, errors.New("call was refused")
	}
	r.word()
	r.opaque()
	if accepted := r.word(); accepted != 0 {
		return nil, fmt.Errorf("call was not accepted: %d", accepted)
	}
	status := r.word()
	r.opaque() // tag
	r.word()   // results
	if r.err == nil && status != 0 {
		return nil, Status(status)
	}
	return r, r.err
}

type writer struct{ b []byte }

func (w *writer) raw(b []byte) { w.b = append(w.b, b...) }

func (w *writer) word(values ...uint32) {
	for _, v := range values {
		w.b = binary.BigEndian.AppendUint32(w.b, v)
	}
}

func (w *writer) long(v uint64) { w.b = binary.BigEndian.AppendUint64(w.b, v) }

func (w *writer) opaque(b []byte) {
	w.word(uint32(len(b)))
	w.raw(b)
	w.raw(make([]byte, (4-len(b)%4)%4))
}

type reader struct {
	b   []byte
	err error
}

func (r *reader) raw(n int) []byte {
	if n > len(r.b) {
		r.err = errors.New("reply is too short")
		return make([]byte, min(n, maxReply))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) word() uint32 { return binary.BigEndian.Uint32(r.raw(4)) }
func (r *reader) long() uint64 { return binary.BigEndian.Uint64(r.raw(8)) }

func (r *reader) opaque() []byte {
	n := int(r.word())
	if n > len(r.b) {
		r.err = errors.New("reply is too short")
		return nil
	}
	b := r.raw(n)
	r.raw((4 - n%4) % 4)
	return b
}

// operation reads the head of a result that succeeded.
func (r *reader) operation(want uint32) {
	got, status := r.word(), r.word()
	if r.err == nil && (got != want || status != 0) {
		r.err = fmt.Errorf("result of operation %d, status %d, where one of %d was expected", got, status, want)
	}
}
