package driver

import (
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"k8s.io/apimachinery/pkg/api/resource"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
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

// TestStaticExports calls everything with the handle of a static export.
func TestStaticExports(t *testing.T) {
	b := backend("static", 0, 1)
	b.Spec.Server = &v1alpha1.ManagedServer{Exports: []v1alpha1.StaticExport{{Name: "shared", Size: resource.MustParse("3Gi")}}}
	f := newFixture(t, b)
	const handle, absent, nowhere = "static/0/e-shared", "static/0/e-absent", "lost/0/e-shared"
	ctx := t.Context()
	validate := func(handle string) (*csi.ValidateVolumeCapabilitiesResponse, error) {
		return f.controller.ValidateVolumeCapabilities(ctx, &csi.ValidateVolumeCapabilitiesRequest{
			VolumeId: handle, VolumeCapabilities: []*csi.VolumeCapability{capability(csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER)},
		})
	}
	if resp, err := validate(handle); err != nil || resp.GetConfirmed() == nil {
		t.Errorf("got %v, %v", resp, err)
	}
	_, err := validate(absent)
	wantCode(t, err, codes.NotFound)
	_, err = validate(nowhere)
	wantCode(t, err, codes.Unavailable)
	got, err := f.controller.ControllerGetVolume(ctx, &csi.ControllerGetVolumeRequest{VolumeId: handle})
	if err != nil || got.GetVolume().GetCapacityBytes() != 3*gib {
		t.Errorf("got %v, %v", got, err)
	}
	_, err = f.controller.DeleteVolume(ctx, &csi.DeleteVolumeRequest{VolumeId: handle})
	wantCode(t, err, codes.FailedPrecondition)
	_, err = f.controller.ControllerExpandVolume(ctx, &csi.ControllerExpandVolumeRequest{
		VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 4 * gib},
	})
	wantCode(t, err, codes.InvalidArgument)
	_, err = f.controller.ControllerModifyVolume(ctx, &csi.ControllerModifyVolumeRequest{VolumeId: handle})
	wantCode(t, err, codes.InvalidArgument)
	_, err = f.controller.CreateSnapshot(ctx, &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: handle})
	wantCode(t, err, codes.InvalidArgument)
	if calls := f.agents[0].Calls(); len(calls) != 0 {
		t.Errorf("the agent was asked for %v", calls)
	}
}
