package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// vmPackages are what a single virtual machine needs; clusterPackages what the nodes run besides.
var (
	vmPackages      = []string{"user-mode-linux", "xfsprogs", "nfs-common", "util-linux"}
	clusterPackages = append([]string{
		"iproute2", "procps", "e2fsprogs", "iptables", "containerd", "runc", "containernetworking-plugins", "busybox-static",
		"ca-certificates", "kmod", "mount",
	}, vmPackages...)
)

// ensurePackages installs the Debian packages that are missing.
func ensurePackages(ctx context.Context, p *progress, names []string) error {
	missing := missingPackages(ctx, names)
	if len(missing) == 0 {
		return nil
	}
	list := strings.Join(missing, " ")
	if _, err := exec.LookPath("apt-get"); err != nil {
		return fmt.Errorf("this needs Debian 12 or something close to it; elsewhere install what corresponds to: %s", list)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("packages are missing and only root can install them: apt-get install %s", list)
	}
	p.note("installing %s", list)
	install := append([]string{"install", "-y", "-q", "--no-install-recommends"}, missing...)
	if err := apt(ctx, install...); err == nil {
		return nil
	}
	if err := apt(ctx, "update", "-q"); err != nil { // perhaps the lists were only too old
		return err
	}
	return apt(ctx, install...)
}

func missingPackages(ctx context.Context, names []string) []string {
	args := append([]string{"-W", "-f", "${Package} ${db:Status-Status}\n"}, names...)
	out, _ := exec.CommandContext(ctx, "dpkg-query", args...).Output() // fails when one is unknown, and prints the others
	var missing []string
	for _, n := range names {
		if !strings.Contains("\n"+string(out), "\n"+n+" installed\n") {
			missing = append(missing, n)
		}
	}
	return missing
}

func apt(ctx context.Context, args ...string) error {
	var log bytes.Buffer
	cmd := exec.CommandContext(ctx, "apt-get", args...)
	cmd.Stdout, cmd.Stderr = &log, &log
	// No service is to start on this machine: the nodes have their own containerd.
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", args[0], err, log.String())
	}
	return nil
}

func requireRoot() error {
	if os.Geteuid() != 0 {
		return errors.New("a cluster needs root: network namespaces and TAP devices")
	}
	return nil
}
