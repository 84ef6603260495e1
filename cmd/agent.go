package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/go-logr/logr"
	"github.com/spf13/cobra"

	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func newAgentCommand() *cobra.Command {
	o := server.Options{}
	var configFile string
	var verbose bool
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run one NFS server: its disk, its volumes, its Ganesha",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			flusher := server.BecomeIOFlusher() // first of all: it may begin the program anew
			var err error
			if o.Config, err = config.Load(configFile); err != nil {
				return fmt.Errorf("load configuration: %w", err)
			}
			o.Log = agentLog(verbose).WithValues("backend", o.Config.Backend, "shard", o.Config.Shard)
			if flusher != nil && o.Config.External == nil { // else nobody's dirty pages come here
				o.Log.Info("Not protected from a deadlock", "message", flusher.Error())
				o.Warnings = append(o.Warnings, flusher.Error())
			}
			go func() { _ = giveBackStartup(cmd.Context(), o.Log) }() // it logs what it cannot do
			err = server.Run(cmd.Context(), o)
			if lost := server.Lost(nil); errors.As(err, &lost) {
				err = lost.BeginAnew()
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&configFile, "config", names.FileAgentConfig, "configuration `file`")
	flags.StringVar(&o.ExportsFile, "exports", names.FileAgentExports, "`file` with the static exports; it is read again when it changes, and need not be there")
	flags.StringVar(&o.TLSDir, "tls-dir", names.DirTLS, "`directory` with tls.crt, tls.key and ca.crt")
	flags.StringVar(&o.Listen, "listen", fmt.Sprintf(":%d", names.PortAgent), "`address` of the gRPC service")
	flags.StringVar(&o.HealthAddress, "health-address", fmt.Sprintf(":%d", names.PortAgentHealth), "`address` of /livez, /readyz and /metrics")
	flags.StringVar(&o.RunDir, "run-dir", "/run/nfs-operator", "`directory` for sockets and generated files")
	flags.BoolVar(&verbose, "verbose", false, "log also what only developers want to know")
	return cmd
}

func agentLog(verbose bool) logr.Logger {
	level := slog.LevelInfo
	if verbose {
		level = slog.LevelDebug
	}
	return logr.FromSlogHandler(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}
