package main

import "github.com/spf13/cobra"

func newCSIControllerCommand() *cobra.Command {
	return &cobra.Command{Use: "csi-controller"}
}
