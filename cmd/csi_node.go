package main

import "github.com/spf13/cobra"

func newCSINodeCommand() *cobra.Command {
	return &cobra.Command{Use: "csi-node"}
}
