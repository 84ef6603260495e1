package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
	"github.com/nfs-operator/nfs-operator/test/cluster/internal/uml"
)

// A node's disk holds its root file system: images, pods, logs. It is sparse.
const nodeDiskSize = 40 << 30

// nodeTemplate returns the disk that nodes start with, and makes it if it is not in the cache: an ext4 file system in which
// containerd has unpacked the images.
func nodeTemplate(ctx context.Context, p *progress, images []string) (string, error) {
	spec, err := templateSpec(images)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	fmt.Fprintln(h, "format 2", images, spec.Node.Files)
	dir := filepath.Join(cacheDir(), "nodes")
	template := filepath.Join(dir, hex.EncodeToString(h.Sum(nil))[:16]+".img")
	unlock, err := lock(filepath.Join(dir, ".lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	now := time.Now()
	if os.Chtimes(template, now, now) == nil { // it is there, and still used
		return template, nil
	}
	p.note("unpacking the images onto a disk, from which every node's is copied: a minute, once")
	work, err := os.MkdirTemp(dir, ".making-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	disk := filepath.Join(work, "disk.img")
	if err := prepareDisk(ctx, spec, work, disk); err != nil {
		return "", err
	}
	return template, replaceTemplate(disk, template)
}

// replaceTemplate puts the new one in its place and removes those that nobody has used for a day: they are large.
func replaceTemplate(disk, template string) error {
	old, err := filepath.Glob(filepath.Join(filepath.Dir(template), "*.img"))
	if err != nil {
		return err
	}
	for _, f := range old {
		if info, err := os.Stat(f); err == nil && time.Since(info.ModTime()) > 24*time.Hour {
			_ = os.Remove(f)
		}
	}
	return os.Rename(disk, template)
}

func templateSpec(images []string) (guest.Spec, error) {
	config, err := render("containerd.toml", map[string]string{"Pause": pauseImage})
	if err != nil {
		return guest.Spec{}, err
	}
	modules, err := uml.ModuleFiles([]string{"loop", "overlay"})
	if err != nil {
		return guest.Spec{}, err
	}
	return guest.Spec{Hostname: "prepare", Modules: modules, Node: &guest.Node{
		Prepare: true, Disk: "/dev/ubda", Binds: map[string]string{filepath.Join(cacheDir(), "images"): nodeImages},
		Files: map[string]string{"/etc/containerd/config.toml": config}, Images: onNodes(images), Services: []guest.Service{containerdService},
	}}, nil
}

func prepareDisk(ctx context.Context, spec guest.Spec, work, disk string) error {
	if err := makeDisk(disk, nodeDiskSize); err != nil {
		return err
	}
	if err := run(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-J", "size=64", "-N", "1000000", "-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", disk); err != nil {
		return err
	}
	specFile, consoleLog := filepath.Join(work, "spec.json"), filepath.Join(work, "console.log")
	if err := spec.Write(specFile); err != nil {
		return err
	}
	console, err := openLog(consoleLog)
	if err != nil {
		return err
	}
	defer console.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd, err := uml.Machine{
		Init: self, Env: []string{guest.SpecVariable + "=" + specFile}, Memory: "2G", ReadOnly: true,
		Disks: []string{disk}, Console: console, RunDir: work, Detached: true,
	}.Start()
	if err != nil {
		return err
	}
	defer killGroup(cmd.Process.Pid)
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case <-ended:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(10 * time.Minute):
		return errors.New("does not end; the console:\n" + tail(consoleLog))
	}
	// debugfs ends with 0 whatever it finds.
	if out, err := output(ctx, nil, "debugfs", "-R", "stat "+guest.Prepared, disk); err != nil || !strings.Contains(out, "Inode:") {
		return errors.New("the images could not be unpacked; the console:\n" + tail(consoleLog))
	}
	return nil
}
