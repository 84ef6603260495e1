// Package ganesha runs NFS-Ganesha: it writes its configuration, starts, watches and stops it together with the D-Bus that
// it is spoken to over, and keeps its exports equal to what the rest of the agent wants.
package ganesha

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
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
}

// Client is one node that may use an export. No address may belong to two clients of one export.
type Client struct {
	Addresses      []netip.Addr
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

// Access_Type None in the defaults and in every export: where no CLIENT block matches, the export's own type holds, so
// anything else would open a volume to everybody when its last grant is closed. Blocking locks can deadlock Ganesha
// (nfs-ganesha#1349); clients poll instead. The recovery backend fs loses locks at random, fs_ng does not. Ids go over the wire as
// numbers, yet idmapping stays active: without it Ganesha 15.2 refuses more than a quarter of all chowns, at random, as invalid.
const serverTemplate = `NFS_CORE_PARAM {
	NFS_Port = %d;
	Protocols = 4;
	Enable_NLM = false;
	Enable_RQUOTA = false;
	Enable_UDP = false;
	Enable_Metrics = false;
	mount_path_pseudo = true;
	fsid_device = false;
	Allow_Set_Io_Flusher_Fail = true;
	RPC_Max_Connections = 16384;
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
	Only_Numeric_Owners = true;
	Delegations = false;
	Blocking_Locks = false;
}
GRPC { Grpc_Enable = false; }
NFS_KRB5 { Active_krb5 = false; }
DIRECTORY_SERVICES { Idmapping_Active = true; }
EXPORT_DEFAULTS { Access_Type = None; Protocols = 4; Transports = TCP; SecType = sys; }
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

// writeClients writes one block for each kind of client: Ganesha searches blocks and addresses one by one.
func writeClients(b *strings.Builder, clients []Client) {
	for _, readOnly := range []bool{false, true} {
		for _, privileged := range []bool{true, false} {
			var addresses []netip.Addr
			for _, c := range clients {
				if c.ReadOnly == readOnly && c.PrivilegedPort == privileged {
					addresses = append(addresses, c.Addresses...)
				}
			}
			if len(addresses) == 0 {
				continue
			}
			slices.SortFunc(addresses, netip.Addr.Compare)
			fmt.Fprintf(b, "\tCLIENT {\n\t\tClients = %s;\n\t\tAccess_Type = %s;\n\t\tPrivilegedPort = %t;\n\t\tProtocols = 4;\n\t}\n",
				joinAddresses(slices.Compact(addresses)), accessType(readOnly), privileged)
		}
	}
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
