package server

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestCallsEndWithTheShare(t *testing.T) {
	s := &Server{}
	s.lost, s.lose = context.WithCancelCause(t.Context())
	begun := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		_, err := s.untilLost(t.Context(), nil, nil, func(ctx context.Context, _ any) (any, error) {
			close(begun)
			<-ctx.Done()
			return nil, ctx.Err()
		})
		ended <- err
	}()
	<-begun
	s.lose(errors.New("no answer"))
	if err := <-ended; status.Code(err) != codes.Unavailable {
		t.Errorf("error %v", err)
	}
}
