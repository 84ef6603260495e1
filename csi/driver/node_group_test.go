package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

func (f *fixture) stageFor(t *testing.T, c claim, group string) error {
	t.Helper()
	capability := capability(c.mode)
	capability.GetMount().VolumeMountGroup = group
	_, err := f.node.NodeStageVolume(t.Context(), &csi.NodeStageVolumeRequest{
		VolumeId: c.handle, StagingTargetPath: c.staging, VolumeCapability: capability,
	})
	return err
}

func (f *fixture) publishFor(t *testing.T, c claim, target, group string, readOnly bool) error {
	t.Helper()
	capability := capability(c.mode)
	capability.GetMount().VolumeMountGroup = group
	_, err := f.node.NodePublishVolume(t.Context(), &csi.NodePublishVolumeRequest{
		VolumeId: c.handle, StagingTargetPath: c.staging, TargetPath: target, VolumeCapability: capability, Readonly: readOnly,
	})
	return err
}

func (f *fixture) groupCalls() int {
	n := 0
	for _, call := range f.agents[0].Calls() {
		if call == "SetGroup" {
			n++
		}
	}
	return n
}

func TestGroupOfAPod(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	must(t, f.stageFor(t, c, "2000"), f.publishFor(t, c, c.target, "2000", false))
	if g := f.agents[0].Group(c.id); g != 2000 || f.groupCalls() != 1 {
		t.Errorf("group %d after %d calls", g, f.groupCalls())
	}
	// A pod with another group, and one that only reads.
	must(t, f.publishFor(t, c, c.other, "3000", true))
	if g := f.agents[0].Group(c.id); g != 2000 {
		t.Errorf("a reader changed the group to %d", g)
	}
	must(t, f.unpublish(t, c, c.other), f.publishFor(t, c, c.other, "3000", false))
	if g := f.agents[0].Group(c.id); g != 3000 {
		t.Errorf("group is %d", g)
	}
	// What is published needs no server.
	f.stop[0]()
	must(t, f.stageFor(t, c, "2000"), f.publishFor(t, c, c.other, "3000", false))
}

func TestGroupIsSetBeforeTheMount(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	f.agents[0].Before(func(method string) error {
		if method == "SetGroup" {
			return status.Error(codes.Aborted, "goes on in the background")
		}
		return nil
	})
	wantCode(t, f.stageFor(t, c, "2000"), codes.Aborted)
	if _, mounted := f.mounted(t, c.staging); mounted {
		t.Error("mounted without the group")
	}
	f.agents[0].Before(nil)
	must(t, f.stageFor(t, c, "2000"))
}

func TestGroupsThatAreNone(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	for _, group := range []string{"-1", "4294967295", "4294967296", "staff", "0x10", " 1", strings.Repeat("9", 1000)} {
		wantCode(t, f.stageFor(t, c, group), codes.InvalidArgument)
	}
	reader := f.claim(t, "b", rox)
	must(t, f.stageFor(t, reader, "2000"))
	export := volumeid.Volume{Shard: volumeid.Shard{Backend: "main"}, ID: "e-data"}
	with := capability(rwx)
	with.GetMount().VolumeMountGroup = "2000"
	if g, err := parseGroup(with, export, false); g != nil || err != nil {
		t.Errorf("group of a static export: %v, %v", g, err)
	}
	if f.groupCalls() != 0 {
		t.Errorf("%d calls", f.groupCalls())
	}
}
