package main

import "github.com/spf13/cobra"

func newManagerCommand() *cobra.Command {
	return &cobra.Command{Use: "manager"}
}
