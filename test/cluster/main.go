// Command cluster runs a real Kubernetes cluster, and single virtual machines for tests, on one small Linux machine. See README.md.
package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
)

// verb is one of the things that the command can do.
type verb struct {
	name, usage, help string
	run               func(args []string) error
}

func verbs() []verb {
	return []verb{
		{"up", "up [--nodes N] [--mem 3G] [--disks 2] [--disk-size 10G] [--shared-disk SIZE] [--controller-qps 200]", "start a cluster, or repair one that is there", upCommand},
		{"down", "down", "remove the cluster and all that belongs to it", downCommand},
		{"status", "status", "what runs; exit code 1 if something that should does not", statusCommand},
		{"kubeconfig", "kubeconfig", "print the path of the administrator's kubeconfig", kubeconfigCommand},
		{"load-image", "load-image FILE-or-NAME...", "import images into all nodes", loadImageCommand},
		{"node", "node stop|start|disconnect|connect NODE", "cut a node's power, switch it on, pull its cable, plug it in", nodeCommand},
		{"node", "node exec NODE COMMAND ARGS...", "run a command on a node", nodeCommand},
		{"console", "console NODE", "print the path of the log of a node's kernel; those of its services lie beside it", consoleCommand},
		{"envtest-assets", "envtest-assets", "print a directory for KUBEBUILDER_ASSETS (also has kubectl)", envtestCommand},
		{"pack-image", "pack-image --name NAME:TAG --file /PATH=FILE... -- ENTRYPOINT...", "write an image into the cache (for hack/images/build)", packImageCommand},
		{clocks, clocks, "keep the clocks of a cluster's nodes going (`up` starts it)", clocksCommand},
		{"vm", "vm run [--disk FILE-or-SIZE]... [--mem 1G] [--timeout 10m] -- COMMAND ARGS...", "run a command as root in a virtual machine with an NFS client and XFS", vmCommand},
	}
}

// exitError ends the program with a code and, unless it is empty, a message.
type exitError struct {
	code    int
	message string
}

func (e exitError) Error() string { return e.message }

func main() {
	if guest.InGuest() {
		guest.Main()
	}
	err := dispatch(os.Args[1:])
	var exit exitError
	switch {
	case err == nil:
	case errors.As(err, &exit):
		if exit.message != "" {
			fmt.Fprintln(os.Stderr, "cluster:", exit.message)
		}
		os.Exit(exit.code)
	default:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

func dispatch(args []string) error {
	all := verbs()
	if len(args) > 0 {
		if v, ok := findVerb(all, args[0]); ok {
			return v.run(args[1:])
		}
	}
	return exitError{2, usage(all)}
}
