package mount

import (
	"os"
	"strings"
)

const (
	// maxHostname is the longest name of a host (__NEW_UTS_LEN in the kernel).
	maxHostname = 64
	// What an administrator may have added to the client's name: in this network namespace (fs/nfs/sysfs.c), and by a
	// parameter of the module.
	identifierFile = "/sys/fs/nfs/net/nfs_client/identifier"
	uniqueIDFile   = "/sys/module/nfs/parameters/nfs4_unique_id"
)

// ClientName is the name under which servers know a node's NFS client, from the Node's name and UID: two nodes of one
// name would end each other's leases. It takes the place of the hostname for the system call that mounts, and so has
// at most 64 characters.
//
// The kernel has an identifier for the purpose, but puts a slash between it and the hostname. Ganesha cannot read back
// what it has written down of a client with a slash in its name, and so ends each client's locks when it restarts:
// its record says "(57:0x4c69...)", where 57 is the length of the name and not of what follows, and is taken for one
// that a crash has cut off.
func ClientName(node, uid string) string {
	if free := maxHostname - len(uid) - 1; len(node) > free {
		node = node[:max(free, 0)]
	}
	return strings.Trim(node+"-"+uid, "-.")
}

// SetClientName gives the kernel's NFS client its name. It takes effect with the first mount from a server.
func (l *Linux) SetClientName(name string) { l.clientName = name }

// Identifier is what makes the kernel put a slash into its client's name (see ClientName); empty when nothing does.
func (l *Linux) Identifier() string {
	for _, file := range []string{identifierFile, uniqueIDFile} {
		text, _ := os.ReadFile(file) // there is none as long as the client is not loaded
		if id := strings.TrimSpace(string(text)); id != "" && id != "(null)" {
			return id
		}
	}
	return ""
}
