package service

import (
	"context"
	"io"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/agent/access"
	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

func TestNodesAreToldWhereAShareIs(t *testing.T) {
	c := &Core{Share: &Share{Server: "nas.example.org", Path: "/export/volumes", Options: []string{"vers=4.1"}}}
	got := c.location("abc", access.Caller{})
	if got.GetServer() != "nas.example.org" || got.GetPath() != "/export/volumes/abc" || len(got.GetMountOptions()) != 1 {
		t.Errorf("location %v", got)
	}
	if got := (&Core{}).location("abc", access.Caller{}); got.GetServer() != "" || got.GetPath() != "/abc" {
		t.Errorf("of our own: %v", got)
	}
}

// silent is a stream on which nothing comes.
type silent struct {
	grpc.BidiStreamingServer[agentv1.Announcement, agentv1.AnnouncementReply]

	ctx context.Context //nolint:containedctx // a stream has one
}

func (s silent) Context() context.Context     { return s.ctx }
func (s silent) SendHeader(metadata.MD) error { return nil }
func (s silent) Recv() (*agentv1.Announcement, error) {
	<-s.ctx.Done()
	return nil, io.EOF
}

func TestAnnouncementsEndWithTheShare(t *testing.T) {
	s := New(func(*Core) *agentv1.ServerStatus { return &agentv1.ServerStatus{} })
	ended := make(chan struct{})
	close(ended)
	_, err := s.receive(silent{ctx: t.Context()}, &Core{Ended: ended})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.receive(silent{ctx: ctx}, &Core{Ended: make(chan struct{})}); err != io.EOF { //nolint:errorlint // nothing is wrapped
		t.Errorf("error %v", err)
	}
}
