package mount

import (
	"fmt"
	"strconv"
	"strings"
)

// Connection is what the kernel's NFS client makes once for a server and a version of the protocol, with a node's first
// mount (fs/nfs/client.c, nfs_match_client looks at nothing else); later mounts use it, whatever their options say.
type Connection struct {
	Version  string
	Count    int    // nconnect
	Timeouts string // timeo and retrans: after how long a dead connection is given up
	Reserved bool   // made from a port below 1024
}

// ConnectionOf reads it from the text of a mount's options.
func ConnectionOf(data string) Connection {
	c := Connection{Count: 1, Reserved: true}
	var timeo, retrans string
	for option := range strings.SplitSeq(data, ",") {
		name, value, _ := strings.Cut(option, "=")
		switch name {
		case "vers":
			c.Version = value
		case "nconnect":
			if n, err := strconv.Atoi(value); err == nil {
				c.Count = n
			}
		case "timeo":
			timeo = option
		case "retrans":
			retrans = option
		case "noresvport":
			c.Reserved = false
		}
	}
	c.Timeouts = timeo + "," + retrans
	return c
}

// Shared is what of the connection mountOptions decide for all mounts of a server.
func (c Connection) Shared() string { return fmt.Sprintf("nconnect=%d,%s", c.Count, c.Timeouts) }

func (c Connection) String() string {
	port := "resvport"
	if !c.Reserved {
		port = "noresvport"
	}
	return fmt.Sprintf("vers=%s,%s,%s", c.Version, c.Shared(), port)
}
