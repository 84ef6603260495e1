// Package share is the share of an NFS server that exists elsewhere, as a place for volumes: mounting it, making sure that it is the
// right one and nobody else's, finding out what it can do, and noticing when it is lost. What is done on it then is the engine's, as on
// a disk of our own.
package share

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// Mounter is what a share needs of mount.Mounter.
type Mounter interface {
	NFS(ctx context.Context, m mount.NFS) error
	Unmount(ctx context.Context, target string) error
	Detach(ctx context.Context, target string, force bool) error
	Mounts() ([]mount.Mount, error)
}

const (
	resolveTimeout = 5 * time.Second
	mountTimeout   = 25 * time.Second
	unmountTimeout = 5 * time.Second
	// What Abandon does not end in this time ends with the program, which is begun anew: before another can have the lock.
	abandonTimeout = time.Second
)

// Place is where a share is, and where to mount it.
type Place struct {
	Config   config.External
	Dir      string // where it is mounted
	Mounter  Mounter
	Resolver mount.Resolver
	Holder   string // this agent, for people who find the lock held
}

// Share is a share in use: mounted, ours, and locked. It is a file system without quotas.
type Share struct {
	xfs.Unlimited // nothing is charged to anything, for NFS knows no project quota

	Store *store.Store
	// Version of NFS that was agreed on.
	Version string
	// Reflink tells whether files can be cloned; Xattrs, whether they can have extended attributes of users.
	Reflink, Xattrs bool

	place Place
	lock  *os.File
}

// Open mounts a share and takes it into use. An error is an Error where a person can do something about it. owner is who the share
// belongs to as far as is known, also with an error.
func Open(ctx context.Context, p Place) (s *Share, owner string, err error) {
	s = &Share{place: p}
	if s.Version, err = p.mount(ctx); err != nil {
		return nil, "", err
	}
	if owner, err = s.use(ctx); err != nil {
		if closing := s.Close(); closing != nil {
			err = fmt.Errorf("%w; %w", err, closing)
		}
		return nil, owner, err
	}
	return s, owner, nil
}

// use does all that comes behind the mount. Nothing is written before the share is known to be ours, and nothing but the lock before that
// is held.
func (s *Share) use(ctx context.Context) (owner string, err error) {
	dir, c := s.place.Dir, s.place.Config
	found, err := s.look(c.ServerID)
	if err != nil {
		return found.Owner, err
	}
	if s.lock, err = lock(ctx, store.Layout{Root: dir}, s.place.Holder); err != nil {
		return found.Owner, err
	}
	// Under the lock nobody changes it any more. What held volumes a moment ago is not begun anew.
	if found, err = s.look(cmp.Or(c.ServerID, found.ServerID)); err != nil {
		return found.Owner, err
	}
	if err := s.probe(store.Layout{Root: dir}); err != nil {
		return found.Owner, err
	}
	if err := os.Chown(store.Layout{Root: dir}.Meta(), 0, 0); err != nil { // made while the server took root for another user
		return found.Owner, failed(err)
	}
	if s.Store, err = store.Open(dir, store.Init{Owner: c.Owner}); err != nil {
		return found.Owner, identified(c, store.Server{}, false, err)
	}
	if err := s.Store.Claim(c.Owner, c.TakeOver); err != nil { // somebody was quicker, between the look and the lock
		return s.Store.Server().Owner, ownedError(c, s.Store.Server().Owner)
	}
	fs, err := xfs.Use(dir)
	if err != nil {
		return c.Owner, failed(err)
	}
	s.Unlimited = xfs.Unlimited{Filesystem: fs}
	return c.Owner, nil
}

// look says whose the share is, without touching it; empty when it is new. serverID is the identity that it must have, if any.
func (s *Share) look(serverID string) (store.Server, error) {
	c := s.place.Config
	c.ServerID = serverID
	found, exists, err := store.Identify(s.place.Dir)
	return found, identified(c, found, exists, err)
}

// Abandon takes the share out of sight, and fails what still waits for its server, so that calls in progress come to an end.
func (s *Share) Abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), abandonTimeout)
	defer cancel()
	_ = s.place.Mounter.Detach(ctx, s.place.Dir, true) // Close says what is wrong
}

// Close gives the lock back and unmounts. Nothing may use the share any more.
func (s *Share) Close() error {
	var failed []error
	if s.Filesystem != nil {
		failed = append(failed, s.Filesystem.Close())
	}
	if s.lock != nil {
		_ = s.lock.Close() // a dead server never hears of it: its lease ends the lock
	}
	return errors.Join(append(failed, s.place.unmount())...)
}

// unmount takes away all that is mounted at the place: also what an agent that was killed has left.
func (p Place) unmount() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*unmountTimeout)
	defer cancel()
	for {
		mounts, err := p.Mounter.Mounts()
		if err != nil {
			return err
		}
		if _, ok := mount.At(mounts, p.Dir); !ok {
			return nil
		}
		plain, cancelPlain := context.WithTimeout(ctx, unmountTimeout)
		err = p.Mounter.Unmount(plain, p.Dir)
		cancelPlain()
		if err != nil {
			err = p.Mounter.Detach(ctx, p.Dir, true)
		}
		if errors.Is(err, unix.EINVAL) {
			continue // not mounted: the plain one came to its end after all
		}
		if err != nil {
			return fmt.Errorf("unmount the share: %w", err)
		}
	}
}

// resolve finds the server's address.
func (p Place) resolve(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, resolveTimeout)
	defer cancel()
	address, err := mount.Resolve(ctx, p.Resolver, p.Config.Server)
	if err != nil {
		return "", Error{agentv1.ReasonShareUnreachable, err}
	}
	return address, nil
}
