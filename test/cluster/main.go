// Command cluster runs a real Kubernetes cluster, and single virtual machines for tests, on one small Linux machine. See README.md.
package main

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/nfs-operator/nfs-operator/test/cluster/internal/guest"
)

// verb is one of the things that the command can do.
type verb struct {
	name, usage, help string
	run               func(args []string) error
}

func verbs() []verb {
	return []verb{
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
		if i := slices.IndexFunc(all, func(v verb) bool { return v.name == args[0] }); i >= 0 {
			return all[i].run(args[1:])
		}
	}
	text := "usage:\n"
	for _, v := range all {
		text += fmt.Sprintf("  cluster %s\n        %s\n", v.usage, v.help)
	}
	return exitError{2, text}
}
