package service

import (
	"context"
	"errors"

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
	{access.ErrHeld, codes.FailedPrecondition},
	{access.ErrGone, codes.PermissionDenied},
	{engine.ErrNoSpace, codes.ResourceExhausted},
	{engine.ErrTooMany, codes.ResourceExhausted},
	{engine.ErrOutOfRange, codes.OutOfRange},
	{engine.ErrInvalid, codes.InvalidArgument},
	{access.ErrInvalid, codes.InvalidArgument},
	{engine.ErrUnavailable, codes.Unavailable},
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
