package driver

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

func TestModifyVolume(t *testing.T) {
	f := newFixture(t)
	req := createRequest("a")
	req.MutableParameters = map[string]string{"inodes": "5000"}
	v := f.create(t, req)
	want := proto.CloneOf(f.agents[0].Volumes()[0].GetSpec())
	if want.GetInodes() != 5000 || want.GetSquash() != agentv1.Squash_SQUASH_NONE {
		t.Errorf("made as %v", want)
	}
	modify := func(handle string, parameters map[string]string) error {
		_, err := f.controller.ControllerModifyVolume(t.Context(), &csi.ControllerModifyVolumeRequest{VolumeId: handle, MutableParameters: parameters})
		return err
	}
	for range 2 {
		wantCode(t, modify(v.GetVolumeId(), map[string]string{"squash": "All", "anonymousUID": "1000"}), codes.OK)
	}
	want.Squash, want.AnonymousUid = agentv1.Squash_SQUASH_ALL, 1000
	if got := f.agents[0].Volumes()[0].GetSpec(); !proto.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	wantCode(t, modify(v.GetVolumeId(), nil), codes.OK)
	wantCode(t, modify(v.GetVolumeId(), map[string]string{"squash": "All", "iops": "5"}), codes.InvalidArgument)
	wantCode(t, modify("", nil), codes.InvalidArgument)
	wantCode(t, modify("main/0/aaaaaaaaaaaaaaaa", nil), codes.NotFound)
	wantCode(t, modify("main/0/..", nil), codes.NotFound)
}
