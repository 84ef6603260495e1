package server

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/exports"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// filesystem is what the engine and the static exports need of the disk.
type filesystem interface {
	engine.Filesystem
	exports.Filesystem
}

// tryMounted takes a file system into use that somebody else has made, and that is mounted already.
func (s *Server) tryMounted() (*disk, error) {
	dir := s.Config.DataDir
	if err := xfs.CheckWritable(dir); errors.Is(err, xfs.ErrReadOnly) && !s.lostDiskBefore {
		return nil, conditionError{agentv1.ReasonFilesystemReadOnly, fmt.Errorf("%w, and a server writes to it. Take `ro` out of the mountOptions of its PersistentVolume, "+
			"or mount it writable where the node itself has mounted it, and delete the server's pod. If nobody has asked for that, the node's kernel log (dmesg) says why", err)}
	}
	for _, path := range []string{dir, store.Layout{Root: dir}.ServerRecord()} {
		if err := xfs.CheckRunning(path); err != nil {
			return nil, conditionError{agentv1.ReasonFilesystemFailed, fmt.Errorf("%w. It has to be mounted anew, which the kubelet does for a new pod: "+
				"this one is replaced every few minutes until that helps. Where the node itself has mounted it, unmount and mount it there", err)}
		}
	}
	found, err := xfs.LookAt(dir)
	switch {
	case errors.Is(err, xfs.ErrNotWhole):
		return nil, conditionError{agentv1.ReasonFilesystemShared, fmt.Errorf("%w: clients could reach all of that by file handles that they make up. "+
			"Use a StorageClass that makes a file system for each volume", err)}
	case errors.Is(err, xfs.ErrNoHandles):
		return nil, conditionError{agentv1.ReasonFilesystemUnsupported, err}
	case err != nil:
		return nil, err
	}
	if err := s.checkServerID(dir); err != nil {
		return nil, err
	}
	if err := xfs.Restrict(dir); err != nil {
		return nil, conditionError{agentv1.ReasonMountFailed, err}
	}
	s.showDevice(found)
	if err := dropCapabilities(); err != nil {
		return nil, conditionError{agentv1.ReasonMountFailed, fmt.Errorf("clients could make device nodes on their volumes: %w", err)}
	}
	d, err := s.useMounted(store.Init{FilesystemID: found.UUID})
	if err != nil {
		return nil, err
	}
	d.mounted = &found
	return d, nil
}

// checkServerID refuses a file system that is not the one that has the volumes: an empty one most of all, which is what lies below a
// mount that is missing on the node. Nothing is written to it before.
func (s *Server) checkServerID(dir string) error {
	found, exists, err := store.Identify(dir)
	wanted, reason := s.Config.ServerID, agentv1.ReasonFilesystemChanged
	if s.Config.Device != "" {
		reason = agentv1.ReasonDiskChanged
	}
	switch {
	case errors.Is(err, store.ErrNewerFormat) || wanted == "" && (err == nil || errors.Is(err, store.ErrForeign)):
		return nil // what useMounted says of it
	case errors.Is(err, store.ErrForeign):
		return conditionError{reason, fmt.Errorf("%w, and no record of a server, but the volumes lie on server %s: is it the right disk, and "+
			"has xfs_repair moved %s/.nfs-operator to lost+found?", err, wanted, dir)}
	case err != nil:
		return err
	case !exists:
		return conditionError{reason, fmt.Errorf("the file system is empty, but the volumes lie on server %s: is the disk mounted "+
			"where the PersistentVolume says?", wanted)}
	case found.ServerID != wanted:
		return conditionError{reason, fmt.Errorf("the file system is that of server %s, but the volumes lie on server %s: "+
			"has the PersistentVolume, or what is mounted where it says, been replaced? Mount the disk that was there", found.ServerID, wanted)}
	}
	return nil
}

// showDevice lets Ganesha know an XFS by its UUID. It would use the device's number otherwise, which is another one after a restart of
// the node, or on another node. libblkid finds a UUID by a device's node below /dev, and believes its cache where it may not open that
// one, as in a container that was not given the device. Where even that is not possible, the status says so.
func (s *Server) showDevice(m xfs.Mounted) {
	if m.UUID == "" {
		return
	}
	err := makeNode(names.DataDevice, m.Device)
	cache := filepath.Join(s.RunDir, "blkid.tab")
	if err == nil {
		err = os.MkdirAll(s.RunDir, 0o700)
	}
	if err == nil {
		err = os.WriteFile(cache, fmt.Appendf(nil, "<device DEVNO=\"%#04x\" TIME=\"1.0\" UUID=%q TYPE=%q>%s</device>\n",
			m.Device, m.UUID, m.Type, names.DataDevice), 0o600)
	}
	if err == nil {
		err = os.Setenv("BLKID_FILE", cache)
	}
	if err != nil {
		s.Log.Error(err, "File handles may contain the number of the device")
	}
}

func makeNode(path string, device uint64) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == device {
		return nil // made before the program has begun anew, when it still could
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(device)); err != nil {
		return fmt.Errorf("make %s: %w", path, err)
	}
	return nil
}

// limited is the file system as the engine is to see it.
func (d *disk) limited() filesystem {
	if d.mounted == nil || d.mounted.Quota {
		return d.fs
	}
	return xfs.Unlimited{Filesystem: d.fs, Projects: d.mounted.Projects}
}

func (d *disk) missing() engine.Missing {
	if d.mounted == nil {
		return engine.Missing{}
	}
	return engine.Missing{Quota: !d.mounted.Quota, Reflink: !d.mounted.Reflink}
}

// capabilities are known when the file handles have been looked at.
func (d *disk) capabilities() *agentv1.Capabilities {
	m := d.mounted
	if m == nil {
		return &agentv1.Capabilities{Quota: true, Reflink: true, Access: true, Xattrs: true, Durable: true, StableHandles: true}
	}
	uuid := strings.ReplaceAll(m.UUID, "-", "")
	return &agentv1.Capabilities{
		Quota: m.Quota, Reflink: m.Reflink, Access: true, Xattrs: m.Xattrs, Durable: m.Durable,
		StableHandles: !m.Numbered || uuid != "" && strings.Contains(d.store.Server().ProbeHandle, uuid),
	}
}
