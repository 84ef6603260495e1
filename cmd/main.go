// Command nfs-operator is the whole product in one binary: the manager, the two parts of the CSI driver, and the agent
// that runs an NFS server.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/nfs-operator/nfs-operator/internal/version"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "nfs-operator:", err)
		os.Exit(1)
	}
}

func run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{
		Use:           "nfs-operator",
		Short:         "Shared volumes for Kubernetes from NFS servers that it runs",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newManagerCommand(), newCSIControllerCommand(), newCSINodeCommand(), newAgentCommand())
	return root.ExecuteContext(ctx)
}
