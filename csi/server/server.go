// Package server runs the gRPC server of a CSI plugin on its socket, and the HTTP endpoint for its health.
package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"
)

// stopTimeout is how long calls in progress are given at the end.
const stopTimeout = 20 * time.Second

// Listen opens a Unix socket given as a path or as unix:///path. A socket that a former process left is replaced, and
// is not removed at the end: the kubelet takes the removal of a socket for the removal of the driver.
func Listen(ctx context.Context, address string) (net.Listener, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(address, "unix:"), "//")
	if !strings.HasPrefix(path, "/") {
		return nil, fmt.Errorf("%q is no absolute path of a Unix socket", address)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket == 0 {
		return nil, fmt.Errorf("%s exists and is no socket", path)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	listener.(*net.UnixListener).SetUnlinkOnClose(false)
	return listener, nil
}

// New makes a gRPC server whose calls are logged, measured, and kept from ending the process.
func New(log logr.Logger, metrics *Metrics) *grpc.Server {
	return grpc.NewServer(grpc.ChainUnaryInterceptor(observe(log, metrics), recovered(log)))
}

// Serve serves until the context ends, then lets calls in progress end.
func Serve(ctx context.Context, server *grpc.Server, listener net.Listener) error {
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		timer := time.AfterFunc(stopTimeout, server.Stop)
		defer timer.Stop()
		server.GracefulStop()
	})
	err := server.Serve(listener)
	if !stop() {
		<-stopped
	}
	if ctx.Err() != nil || errors.Is(err, grpc.ErrServerStopped) {
		return nil //nolint:nilerr // it was told to stop
	}
	return err
}
