// Package ganesha runs NFS-Ganesha: it writes its configuration, starts, watches and stops it together with the D-Bus that
// it is spoken to over, and keeps its exports equal to what the rest of the agent wants.
package ganesha

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Config is what holds for the whole server.
type Config struct {
	Port         uint16
	ServerID     string // NFS server owner and scope
	RecoveryDir  string // clients' state; it must survive the process, the pod and the node
	LeaseSeconds int32
	GraceSeconds int32
}

// Squash says whose user ids become the anonymous ones.
type Squash string

const (
	SquashNone Squash = "No_Root_Squash"
	SquashRoot Squash = "Root_Squash"
	SquashAll  Squash = "All_Squash"
)

// Export is one directory that Ganesha serves, and to whom.
type Export struct {
	ID           uint16 // part of every file handle
	Name         string // clients mount /<Name>
	Path         string // the directory
	FilesystemID uint64 // unique on this server for ever: a client makes one superblock of exports that share it
	Squash       Squash
	AnonymousUID uint32
	AnonymousGID uint32
	Clients      []Client
	Epoch        uint64 // is not written: an export of another epoch is another export, of which no client has anything open or locked
}

// Client is one node or network that may use an export. No address, and no network, may belong to two clients of one export.
type Client struct {
	Addresses      []netip.Addr
	Networks       []netip.Prefix // where they overlap, the smallest decides, and an address before all networks
	ReadOnly       bool
	PrivilegedPort bool // refuse requests from ports that any process may use
}

// ErrUnsafe is returned for values that cannot be written into a configuration without changing its meaning.
var ErrUnsafe = errors.New("value cannot stand in a configuration")

// RenderServer writes the file that Ganesha starts with. It must hold every export: a handle of one that Ganesha does not
// know is answered with an error that the application sees, even in the grace period.
func RenderServer(c Config, exports []Export) (string, error) {
	recovery, err := quote(c.RecoveryDir)
	if err != nil {
		return "", err
	}
	id, err := quote(c.ServerID)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	fmt.Fprintf(&b, serverTemplate, c.Port, c.LeaseSeconds, c.GraceSeconds, recovery, id, id)
	for _, e := range exports {
		text, err := RenderExport(c, e)
		if err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), nil
}

const (
	// Reading 5,000 exports takes Ganesha 3 s on a quiet machine; in user-mode Linux on a busy one, 15 to 100 s.
	readingOne, readingOneSlowly = 10 * time.Millisecond, exportTimeout
	// How much longer Ganesha takes to read exports than we take to list them and write them down: 10 to 17 times were seen.
	readingByWriting = 25
	// maxGraceSeconds is the most that Ganesha takes.
	maxGraceSeconds = 270
)

// graceSeconds is the grace period as Ganesha has to be told it: it begins before the exports are read, and until they all are, no
// client can reclaim anything. One that came after its end would lose its locks. How long the exports took to be written tells how slow
// the machine is at that moment.
func graceSeconds(c Config, exports int, writing time.Duration) int32 {
	n := time.Duration(exports)
	reading := max(n*readingOne, min(readingByWriting*writing, n*readingOneSlowly)) // a pause while few are written says nothing
	return min(c.GraceSeconds+int32(min(reading.Seconds(), maxGraceSeconds)), maxGraceSeconds)
}

// coreParameters are what every server of ours runs with, also the one that is only asked for a file handle.
const coreParameters = `	Protocols = 4;
	Enable_NLM = false;
	Enable_RQUOTA = false;
	Enable_UDP = false;
	Enable_Metrics = false;
	mount_path_pseudo = true;
	fsid_device = false;
	Allow_Set_Io_Flusher_Fail = true;
`

// Access_Type None in the defaults and in every export: where no CLIENT block matches, the export's own type holds, so
// anything else would open a volume to everybody when its last grant is closed. Blocking locks can deadlock Ganesha
// (nfs-ganesha#1349); clients poll instead. A client that is silent for longer than its lease keeps its locks until another wants them,
// but not for a day, as is the default: as long as it is remembered, each restart of the server waits the whole grace period for it.
// The recovery backend fs loses locks at random, fs_ng does not. Ids go over the wire as numbers, yet idmapping stays active: without
// it Ganesha 15.2 refuses more than a quarter of all chowns, at random, as invalid. Attributes are not kept: the agent changes files' groups
// beside Ganesha, and for a minute, the default, pods would be refused as members of the former group.
const serverTemplate = `NFS_CORE_PARAM {
	NFS_Port = %d;
` + coreParameters + `	RPC_Max_Connections = 16384;
}
NFSv4 {
	Minor_Versions = 1, 2;
	Lease_Lifetime = %d;
	Grace_Period = %d;
	RecoveryBackend = fs_ng;
	RecoveryRoot = %s;
	RecoverySkipIp = true;
	Server_Owner = %s;
	Server_Scope = %s;
	Max_Alive_Time_For_Expired_Client = 600;
	Only_Numeric_Owners = true;
	Delegations = false;
	Blocking_Locks = false;
}
GRPC { Grpc_Enable = false; }
NFS_KRB5 { Active_krb5 = false; }
DIRECTORY_SERVICES { Idmapping_Active = true; }
EXPORT_DEFAULTS { Access_Type = None; Protocols = 4; Transports = TCP; SecType = sys; Attr_Expiration_Time = 0; }
`

// RenderExport writes one EXPORT block. The same export always gives the same text.
func RenderExport(c Config, e Export) (string, error) {
	path, err := quote(e.Path)
	if err != nil {
		return "", err
	}
	pseudo, err := quote("/" + e.Name)
	if err != nil {
		return "", err
	}
	if e.ID == 0 {
		return "", fmt.Errorf("%w: export id 0", ErrUnsafe)
	}
	switch e.Squash {
	case SquashNone, SquashRoot, SquashAll:
	default:
		return "", fmt.Errorf("%w: squash %q", ErrUnsafe, e.Squash)
	}
	var b strings.Builder
	fmt.Fprintf(&b, `EXPORT {
	Export_Id = %d;
	Path = %s;
	Pseudo = %s;
	Filesystem_Id = %d.%d;
	Access_Type = None;
	Squash = %s;
	Anonymous_Uid = %d;
	Anonymous_Gid = %d;
	FSAL { Name = VFS; }
`, e.ID, path, pseudo, serverHash(c.ServerID), e.FilesystemID, e.Squash, e.AnonymousUID, e.AnonymousGID)
	writeClients(&b, e.Clients)
	b.WriteString("}\n")
	return b.String(), nil
}

// maxInBlock is how many addresses stand in one block. Ganesha takes time that grows with the square of that to read it: half a second for
// 5,000 in one, a tenth of one in blocks.
const maxInBlock = 128

// writeClients writes blocks for each kind of client: Ganesha searches blocks and addresses one by one, and the first that matches
// decides. Hence single addresses before networks, and small networks before large ones.
func writeClients(b *strings.Builder, clients []Client) {
	var networks []netip.Prefix
	kinds := map[netip.Prefix]Client{}
	for _, readOnly := range []bool{false, true} {
		for _, privileged := range []bool{true, false} {
			var addresses []netip.Addr
			for _, c := range clients {
				if c.ReadOnly != readOnly || c.PrivilegedPort != privileged {
					continue
				}
				addresses = append(addresses, c.Addresses...)
				for _, n := range c.Networks {
					networks = append(networks, n.Masked())
					kinds[n.Masked()] = c
				}
			}
			slices.SortFunc(addresses, netip.Addr.Compare)
			for some := range slices.Chunk(slices.Compact(addresses), maxInBlock) {
				writeClient(b, joinAddresses(some), readOnly, privileged)
			}
		}
	}
	slices.SortFunc(networks, func(x, y netip.Prefix) int {
		return cmp.Or(y.Bits()-x.Bits(), x.Addr().Compare(y.Addr()))
	})
	for _, n := range slices.Compact(networks) {
		writeClient(b, n.String(), kinds[n].ReadOnly, kinds[n].PrivilegedPort)
	}
}

func writeClient(b *strings.Builder, list string, readOnly, privileged bool) {
	fmt.Fprintf(b, "\tCLIENT {\n\t\tClients = %s;\n\t\tAccess_Type = %s;\n\t\tPrivilegedPort = %t;\n\t\tProtocols = 4;\n\t}\n",
		list, accessType(readOnly), privileged)
}

func accessType(readOnly bool) string {
	if readOnly {
		return "RO"
	}
	return "RW"
}

func joinAddresses(addresses []netip.Addr) string {
	texts := make([]string, len(addresses))
	for i, a := range addresses {
		texts[i] = a.Unmap().WithZone("").String()
	}
	return strings.Join(texts, ", ")
}

// serverHash is the first half of every file system id, so that ids of two servers differ on a client.
func serverHash(serverID string) uint64 {
	sum := sha256.Sum256([]byte(serverID))
	return binary.BigEndian.Uint64(sum[:8]) >> 1
}

// quote writes a string that the parser reads back as it is. It has no escapes for what could end the string.
func quote(s string) (string, error) {
	if s == "" || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == '"' || r == '\\' || r == '\'' || r == 0x7f || r == 0xfffd }) {
		return "", fmt.Errorf("%w: %s", ErrUnsafe, strconv.Quote(s))
	}
	return `"` + s + `"`, nil
}
