package mount

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/nfs-operator/nfs-operator/csi/mount/child"
)

// identifierFile is what the kernel's NFS client adds to its name (fs/nfs/sysfs.c), in the network namespace of the
// process. It is there as soon as the client is loaded.
const identifierFile = "/sys/fs/nfs/net/nfs_client/identifier"

// SetIdentifier gives the kernel's NFS client a name of its own, unless an administrator has. Servers know a client
// by this and its hostname only: two nodes of one hostname would end each other's leases. It takes effect with the
// first mount from a server. It says what the identifier is now.
func (l *Linux) SetIdentifier(ctx context.Context, id string) (string, error) {
	present, err := os.ReadFile(identifierFile)
	if errors.Is(err, os.ErrNotExist) {
		if err := l.run(ctx, child.Request{Op: child.Load, Target: "/"}); err != nil {
			return "", err
		}
		present, err = os.ReadFile(identifierFile)
	}
	if err != nil {
		return "", err
	}
	if text := strings.TrimSpace(string(present)); text != "" && text != "(null)" {
		return text, nil
	}
	if err := os.WriteFile(identifierFile, []byte(id), 0); err != nil { // the file exists
		return "", err
	}
	return id, nil
}
