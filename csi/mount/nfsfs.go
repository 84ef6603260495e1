package mount

import (
	"bufio"
	"errors"
	"io"
	"os"
	"strings"
)

// The kernel's list of its NFS file systems (fs/nfs/client.c, nfs_volume_list_show), in the network namespace of the
// process.
const filesystemsFile = "/proc/fs/nfsfs/volumes"

// Filesystems implements Mounter.
func (l *Linux) Filesystems() ([]Filesystem, error) {
	f, err := os.Open(filesystemsFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil // the NFS client is not loaded
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return parseFilesystems(f)
}

// parseFilesystems reads "NV SERVER PORT DEV FSID FSC".
func parseFilesystems(r io.Reader) ([]Filesystem, error) {
	var list []Filesystem
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 5 || !strings.HasPrefix(fields[0], "v") {
			continue
		}
		list = append(list, Filesystem{Device: fields[3], FSID: fields[4]})
	}
	return list, scanner.Err()
}
