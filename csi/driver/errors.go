package driver

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// codeOf says which code a sentinel is. The sidecars and the kubelet act on codes: what is not there yet must be
// UNAVAILABLE, for after INVALID_ARGUMENT the provisioner waits for minutes.
var codeOf = []struct {
	err  error
	code codes.Code
}{
	{catalog.ErrNotFound, codes.Unavailable},
	{volumeid.ErrInvalid, codes.NotFound},
	{mount.ErrOptions, codes.InvalidArgument},
	{mount.ErrBusy, codes.Aborted},
	{mount.ErrTimeout, codes.DeadlineExceeded},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// toStatus is the only place where errors get their codes.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := status.FromError(err); ok {
		return err
	}
	for _, c := range codeOf {
		if errors.Is(err, c.err) {
			return status.Error(c.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}

// agentError passes an agent's error on, and says whose it is. Agents use the codes of CSI.
func agentError(shard volumeid.Shard, err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return fmt.Errorf("server %s: %w", shard.Name(), err)
	}
	code := s.Code()
	if code == codes.Unknown {
		code = codes.Internal
	}
	return status.Errorf(code, "server %s: %s", shard.Name(), s.Message())
}

// uncertain gives an error a code after which the kubelet does not look at the path itself: while a mount may exist
// there, its stat could hang with the server. Only UNAVAILABLE, ABORTED, DEADLINE_EXCEEDED and RESOURCE_EXHAUSTED keep
// it from that (kubernetes, pkg/volume/csi: isFinalError).
func uncertain(err error) error {
	err = toStatus(err)
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.Aborted, codes.DeadlineExceeded, codes.ResourceExhausted:
		return err
	default:
		return status.Error(codes.Unavailable, status.Convert(err).Message())
	}
}

// mountError is the error of a mount that certainly does not exist.
func mountError(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return status.Errorf(codes.InvalidArgument, "the kernel does not take the mount options: %v", err)
	}
	return status.Error(codes.Unavailable, err.Error())
}

// unmountError says of a busy mount point that the call is to be repeated.
func unmountError(err error) error {
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%w: %w", mount.ErrBusy, err)
	}
	return err
}

func isNotFound(err error) bool { return errors.Is(err, catalog.ErrNotFound) }

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

func busy(what string) error {
	return status.Errorf(codes.Aborted, "another operation on %s is in progress", what)
}
