package service

import (
	"context"
	"errors"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/engine"
)

var statusCodes = []struct {
	err  error
	code codes.Code
}{
	{engine.ErrNotFound, codes.NotFound},
	{access.ErrNotFound, codes.NotFound},
	{engine.ErrExists, codes.AlreadyExists},
	{engine.ErrBusy, codes.Aborted},
	{engine.ErrConfirmed, codes.FailedPrecondition},
	{engine.ErrUnsupported, codes.FailedPrecondition},
	{access.ErrHeld, codes.FailedPrecondition},
	{access.ErrGone, codes.PermissionDenied},
	{engine.ErrNoSpace, codes.ResourceExhausted},
	{engine.ErrTooMany, codes.ResourceExhausted},
	{engine.ErrOutOfRange, codes.OutOfRange},
	{engine.ErrInvalid, codes.InvalidArgument},
	{access.ErrInvalid, codes.InvalidArgument},
	{engine.ErrUnavailable, codes.Unavailable},
	// The share is full, or the server of a share does not answer, or was lost meanwhile.
	{unix.ENOSPC, codes.ResourceExhausted},
	{unix.EDQUOT, codes.ResourceExhausted},
	{unix.ETIMEDOUT, codes.Unavailable},
	{unix.ESTALE, codes.Unavailable},
	{unix.EIO, codes.Unavailable},
	{context.DeadlineExceeded, codes.DeadlineExceeded},
	{context.Canceled, codes.Canceled},
}

// toStatus is the only place where errors become codes.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	for _, s := range statusCodes {
		if errors.Is(err, s.err) {
			return status.Error(s.code, err.Error())
		}
	}
	return status.Error(codes.Internal, err.Error())
}
