package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

const (
	// retryDisk is when a disk is looked at again that could not be used: it may have been wiped, or come back.
	retryDisk = 5 * time.Second
	// growInterval is how often the agent looks whether the device has grown.
	growInterval = 30 * time.Second
	// An unmount fails as long as something still uses the file system.
	unmountTries = 50
	unmountPause = 100 * time.Millisecond
)

// disk is the data disk in use.
type disk struct {
	dir     string
	fs      *xfs.Filesystem
	store   *store.Store
	mounted *xfs.Mounted // what somebody else has mounted; nil for a device of ours
}

// conditionError is an error with the reason that the status shows.
type conditionError struct {
	reason string
	err    error
}

func (e conditionError) Error() string { return e.err.Error() }
func (e conditionError) Unwrap() error { return e.err }

// openDisk tries until the disk can be used. It returns an error only when the context has ended.
func (s *Server) openDisk(ctx context.Context) (*disk, error) {
	for {
		d, err := s.tryDisk(ctx)
		if err == nil {
			return d, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		c := condition{agentv1.ReasonDiskFailed, err.Error()}
		var known conditionError
		if errors.As(err, &known) {
			c.reason = known.reason
		}
		s.report(c)
		if !sleep(ctx, retryDisk) {
			return nil, ctx.Err()
		}
	}
}

func (s *Server) tryDisk(ctx context.Context) (*disk, error) {
	device, dir := s.Config.Device, s.Config.DataDir
	if device == "" {
		return s.tryMounted()
	}
	if !strings.HasPrefix(filepath.Clean(device), "/dev/") {
		return nil, conditionError{agentv1.ReasonHandleWouldChange, fmt.Errorf("device %s does not lie below /dev: file handles would contain its number", device)}
	}
	first, err := s.prepare(ctx, device)
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := xfs.Mount(device, dir); err != nil {
		return nil, conditionError{agentv1.ReasonMountFailed, err}
	}
	mounted := time.Now()
	var d *disk
	if err = s.checkServerID(dir); err == nil {
		d, err = s.useMounted(first)
	}
	if err != nil {
		return nil, errors.Join(err, xfs.Unmount(dir))
	}
	s.Log.Info("The records are read", "volumes", d.store.CountVolumes(), "mountedIn", mounted.Sub(begin).String(), "readIn", time.Since(mounted).String())
	return d, nil
}

// prepare makes sure that there is a file system of ours on the device.
func (s *Server) prepare(ctx context.Context, device string) (store.Init, error) {
	found, err := xfs.Inspect(ctx, device)
	if err != nil {
		return store.Init{}, conditionError{agentv1.ReasonDeviceUnavailable, err}
	}
	if err := checkDevice(device, s.Config.ServerID, found, s.recordedID); err != nil {
		return store.Init{}, err
	}
	var options string
	switch found.Kind {
	case xfs.Ours:
		return initOf(found, ""), nil
	case xfs.Foreign:
		return store.Init{}, conditionError{agentv1.ReasonDeviceNotBlank, fmt.Errorf("%s holds %s; wipe it if it may be used (wipefs --all, or blkdiscard)", device, found.Found)}
	case xfs.Blank, xfs.Unfinished:
		s.report(condition{agentv1.ReasonFormatting, "making a file system on " + device})
		if options, err = xfs.Format(ctx, device, found.Kind == xfs.Unfinished); err != nil {
			reason := agentv1.ReasonFormatFailed
			if errors.Is(err, xfs.ErrDeviceTooSmall) {
				reason = agentv1.ReasonDeviceTooSmall
			}
			return store.Init{}, conditionError{reason, err}
		}
	}
	if found, err = xfs.Inspect(ctx, device); err != nil {
		return store.Init{}, conditionError{agentv1.ReasonDeviceUnavailable, err}
	}
	return initOf(found, options), nil
}

func initOf(found xfs.Content, options string) store.Init {
	return store.Init{ServerID: store.ServerIDOf(found.UUID), FilesystemID: found.UUID, MkfsOptions: options}
}

// checkDevice refuses a device that is not the one that has the volumes. One that looks blank most of all: a file system whose first
// bytes were overwritten can be repaired, and one that was formatted anew cannot. recorded is the identity in the record of a file system
// of ours; it is asked where that one's UUID does not tell: the first servers had random identities.
func checkDevice(device, wanted string, found xfs.Content, recorded func() (string, error)) error {
	if wanted == "" {
		return nil
	}
	holds := ""
	switch found.Kind {
	case xfs.Blank:
		holds = "is blank at its start and its end"
	case xfs.Unfinished:
		holds = "holds a file system of ours that was never finished"
	case xfs.Foreign:
		holds = "holds " + found.Found
	case xfs.Ours:
		id := store.ServerIDOf(found.UUID)
		if id == wanted {
			return nil
		}
		switch inRecord, err := recorded(); {
		case err != nil:
			holds = fmt.Sprintf("is, by its UUID, the disk of server %s, and has no record that can be read and says otherwise (%v)", id, err)
		case inRecord == wanted:
			return nil
		default:
			holds = "is the disk of server " + inRecord
		}
	}
	return conditionError{agentv1.ReasonDiskChanged, fmt.Errorf("%s %s, but the volumes lie on server %s: has the disk been replaced, overwritten or "+
		"swapped with another? Nothing is written to it. Put the right disk back, or repair this one (xfs_repair); docs/backends.md says how to begin with another one "+
		"if it is lost for good", device, holds, wanted)}
}

// recordedID is the identity that the record on the device has. Nothing is written to the device, whose log is not replayed either.
func (s *Server) recordedID() (string, error) {
	var found store.Server
	err := xfs.Look(s.Config.Device, s.Config.DataDir, func() error {
		record, exists, err := store.Identify(s.Config.DataDir)
		if err == nil && !exists {
			err = errors.New("it is empty")
		}
		found = record
		return err
	})
	return found.ServerID, err
}

func (s *Server) useMounted(first store.Init) (*disk, error) {
	dir := s.Config.DataDir
	fs, err := xfs.Use(dir)
	if err != nil {
		return nil, err
	}
	if err := fs.Lock(); err != nil {
		return nil, errors.Join(conditionError{agentv1.ReasonDeviceUnavailable, err}, fs.Close())
	}
	d := &disk{dir: dir, fs: fs}
	if d.store, err = store.Open(dir, first); err == nil {
		err = s.checkIdentity(d, first)
	}
	switch {
	case errors.Is(err, store.ErrForeign) && s.Config.Device == "":
		err = conditionError{agentv1.ReasonFilesystemNotEmpty, fmt.Errorf("%w: give the server an empty disk, or remove what lies on this one", err)}
	case errors.Is(err, store.ErrForeign):
		err = conditionError{agentv1.ReasonDeviceNotBlank, fmt.Errorf("%s: %w", s.Config.Device, err)}
	case errors.Is(err, store.ErrNewerFormat):
		err = conditionError{agentv1.ReasonNewerFormat, err}
	}
	if err != nil {
		return nil, errors.Join(err, fs.Close())
	}
	s.prepareSpace(d)
	return d, nil
}

// checkIdentity refuses a file system whose handles are not those that clients hold: its UUID is part of them.
func (s *Server) checkIdentity(d *disk, first store.Init) error {
	if recorded := d.store.Server().FilesystemID; recorded != first.FilesystemID {
		return conditionError{agentv1.ReasonHandleWouldChange, fmt.Errorf("file system has UUID %s, its record says %s: mounted clients would get stale handles", first.FilesystemID, recorded)}
	}
	return nil
}

// prepareSpace grows the file system and makes the ballast. Neither is worth not serving.
func (s *Server) prepareSpace(d *disk) {
	s.grow(d)
	total, _, err := d.fs.Space()
	if err == nil {
		err = d.fs.MakeBallast(d.store.Ballast(), store.BallastBytes(total))
	}
	if err != nil {
		s.Log.Error(err, "Cannot make the ballast file")
	}
}

// grow does nothing for what somebody else has mounted: the kubelet grows it.
func (s *Server) grow(d *disk) {
	if s.Config.Device == "" {
		return
	}
	switch grown, err := d.fs.Grow(s.Config.Device); {
	case err != nil:
		s.Log.Error(err, "Cannot grow the file system")
	case grown:
		s.Log.Info("Grew the file system to the size of its device")
	}
	groups, bytes, err := d.fs.Groups()
	if err != nil {
		s.Log.Error(err, "Cannot count the allocation groups of the file system")
		return
	}
	s.mu.Lock()
	s.grownTooFar = warnOfGroups(groups, bytes)
	s.mu.Unlock()
}

const (
	// manyGroups is more than 20 times what mkfs.xfs makes of a disk, and more than it makes of an array or for many processors.
	manyGroups = 100
	// XFS has none above 1 TiB, so a large disk has many of these by right.
	largeGroup = 512 << 30
)

func warnOfGroups(groups, bytes int64) string {
	if groups <= manyGroups || bytes > largeGroup {
		return ""
	}
	return fmt.Sprintf("the disk has grown to many times its first size: its file system has %d allocation groups, where a new one would have 4 or some more. "+
		"Each makes it slower; let another server take the volumes to come (docs/backends.md)", groups)
}

// keepGrowing follows the device's size: a claim that is expanded must not have to wait for a restart.
func (s *Server) keepGrowing(ctx context.Context, d *disk) {
	for sleep(ctx, growInterval) {
		s.grow(d)
	}
}

func (d *disk) close(log logr.Logger) {
	if err := d.fs.Close(); err != nil {
		log.Error(err, "Cannot close the file system")
	}
	if d.mounted != nil {
		return
	}
	var err error
	for range unmountTries {
		if err = xfs.Unmount(d.dir); err == nil {
			log.Info("The disk is unmounted")
			return
		}
		<-time.After(unmountPause)
	}
	log.Error(err, "Cannot unmount")
}

// setHostname gives the pod the server's name: Ganesha's recovery records are found under it. It is the pod's own UTS namespace.
func (s *Server) setHostname(name string) {
	if err := unix.Sethostname([]byte(name)); err != nil {
		s.Log.Error(err, "Cannot set the hostname; locks may be lost when the server moves", "name", name)
	}
}
