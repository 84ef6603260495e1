package share

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/mount"
)

// versions of NFS, the best first.
var versions = []string{"4.2", "4.1"}

// own are the options of the agent's mount that no backend's can change. A server that does not answer makes calls fail after 15 s, with
// an error of its own (softerr: ETIMEDOUT, not EIO), where a node's mount would wait for ever: the agent writes records, which it
// syncs, and repeats what has failed. Nothing is taken from caches: nodes change what lies in the volumes. The superblock is the agent's
// alone (nosharecache): options of another mount of the same share would hold for it otherwise.
var own = []string{"softerr", "timeo=50", "retrans=2", "actimeo=0", "nosharecache", "nosuid", "nodev", "noexec"}

// caching are options of nfs(5) that are stronger than an actimeo before them.
var caching = []string{"ac", "noac", "actimeo", "acregmin", "acregmax", "acdirmin", "acdirmax", "lookupcache"}

// ofBackend are the options of the backend that hold for the agent's mount, too.
func (p Place) ofBackend() []string {
	return slices.DeleteFunc(slices.Clone(p.Config.MountOptions), func(o string) bool {
		name, _, _ := strings.Cut(o, "=")
		return slices.Contains(caching, name)
	})
}

// mount mounts the share in the best version of NFS that both sides speak.
func (p Place) mount(ctx context.Context) (version string, err error) {
	if err := p.unmount(); err != nil {
		return "", failed(err)
	}
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return "", failed(fmt.Errorf("make mount point: %w", err))
	}
	if err := mount.CheckBackendOptions(p.Config.MountOptions); err != nil {
		return "", Error{agentv1.ReasonShareOptions, fmt.Errorf("the backend's mountOptions: %w", err)}
	}
	address, err := p.resolve(ctx)
	if err != nil {
		return "", err
	}
	for _, version = range p.versions() {
		if err = p.mountAs(ctx, address, version); !errors.Is(err, unix.EPROTONOSUPPORT) {
			break
		}
	}
	return version, p.mountError(err)
}

// versions are those to try: where the backend names one, no other.
func (p Place) versions() []string {
	for _, o := range slices.Backward(p.Config.MountOptions) {
		for _, v := range versions {
			if slices.Contains([]string{"vers=" + v, "nfsvers=" + v, "v" + v}, o) {
				return []string{v}
			}
		}
	}
	return versions
}

// NodeOptions are what nodes mount with, beside the driver's own and their class's. Each volume is a superblock of its own there, as those
// of our own servers are, whose exports differ: what the node plugin knows of a mount it knows by its device.
func (s *Share) NodeOptions() []string {
	return append(slices.Clone(s.place.Config.MountOptions), "vers="+s.Version, "nosharecache")
}

func (p Place) mountAs(ctx context.Context, address, version string) error {
	options, err := mount.MakeOptions(address, slices.Concat(p.ofBackend(), []string{"vers=" + version}, own), nil)
	if err != nil {
		return err
	}
	// Whoever can write to the share, every node, could plant a link in the place of a directory of ours.
	options.Flags |= unix.MS_NOSYMFOLLOW
	ctx, cancel := context.WithTimeout(ctx, mountTimeout)
	defer cancel()
	return p.Mounter.NFS(ctx, mount.NFS{Address: address, Path: p.Config.Path, Target: p.Dir, Options: options})
}

func (p Place) mountError(err error) error {
	if err == nil {
		return nil
	}
	e := Error{agentv1.ReasonShareUnreachable, fmt.Errorf("mount %s: %w", mount.Source(p.Config.Server, p.Config.Path), err)}
	for _, known := range []struct {
		errno  unix.Errno
		reason string
		advice string
	}{
		{unix.EACCES, agentv1.ReasonShareRefused, "the server does not let this agent mount it: does its export list the addresses of all nodes and of the agent's pod, with sec=sys?"},
		{unix.EPERM, agentv1.ReasonShareRefused, "either the server does not accept sec=sys, or the pod lacks the capability SYS_ADMIN"},
		{unix.EPROTONOSUPPORT, agentv1.ReasonShareRefused, "the server speaks none of NFS " + strings.Join(p.versions(), ", ")},
		{unix.ENOENT, agentv1.ReasonSharePathMissing, "the server has no such directory for this agent: make it, or correct the path (with NFS 4 it begins at the server's root)"},
		{unix.ENOTDIR, agentv1.ReasonSharePathMissing, "it is no directory"},
		{unix.EINVAL, agentv1.ReasonShareOptions, "the kernel does not take the mount options of the backend"},
	} {
		if errors.Is(err, known.errno) {
			return Error{known.reason, fmt.Errorf("%w: %s", e.Err, known.advice)}
		}
	}
	if errors.Is(err, mount.ErrOptions) {
		e.Reason = agentv1.ReasonShareOptions
	}
	return e
}
