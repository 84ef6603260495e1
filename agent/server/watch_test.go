package server

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/xfs"
)

func TestADiskIsLostOnceItsFilesystemHasShutDown(t *testing.T) {
	ctx, lose := context.WithCancelCause(t.Context())
	defer lose(nil)
	answers := []error{nil, errors.New("too many open files"), fmt.Errorf("%w: %w", xfs.ErrShutDown, syscall.EIO)}
	looks := 0
	watchDisk(ctx, "nfs-1", func() error { looks++; return answers[looks-1] }, lose)
	var lost LostDisk
	if cause := context.Cause(ctx); looks != len(answers) || !errors.As(cause, &lost) || !errors.Is(cause, syscall.EIO) {
		t.Fatalf("%d looks, then %v", looks, cause)
	}
	for _, variable := range lost.variables() {
		name, value, _ := strings.Cut(variable, "=")
		t.Setenv(name, value)
	}
	if c, id, anew := begunAnew(); !anew || id != "nfs-1" || c.reason != agentv1.ReasonDiskFailed || !strings.Contains(c.message, "input/output error") {
		t.Errorf("begun anew because of %+v of %q, %v", c, id, anew)
	}
	if _, _, anew := begunAnew(); anew {
		t.Error("begun anew for ever")
	}
}

// A disk that hangs holds up a look, and the end must not wait for that.
func TestALookThatHangsEndsWithTheWatch(t *testing.T) {
	ctx, lose := context.WithCancelCause(t.Context())
	looking, hang := make(chan struct{}), make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		watchDisk(ctx, "nfs-1", func() error { close(looking); <-hang; return nil }, lose)
	}()
	<-looking
	lose(nil)
	close(hang)
	<-ended
	if errors.As(context.Cause(ctx), new(LostDisk)) {
		t.Error("a disk that hangs is taken for one that is lost")
	}
}
