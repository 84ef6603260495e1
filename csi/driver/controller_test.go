package driver

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"sigs.k8s.io/controller-runtime/pkg/client"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

func (f *fixture) create(t *testing.T, req *csi.CreateVolumeRequest) *csi.Volume {
	t.Helper()
	resp, err := f.controller.CreateVolume(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetVolume()
}

func TestCreateVolumeAsAsked(t *testing.T) {
	f := newFixture(t)
	req := createRequest("pvc-1")
	req.Parameters[parameterClaimName], req.Parameters[parameterClaimNamespace] = "data", "shop"
	req.Parameters[parameterVolumeName] = "pvc-1"
	v := f.create(t, req)
	id, err := volumeid.ParseVolume(v.GetVolumeId())
	if err != nil || id.Shard != (volumeid.Shard{Backend: "main"}) {
		t.Errorf("handle %q: %v", v.GetVolumeId(), err)
	}
	if v.GetCapacityBytes() != gib || len(v.GetVolumeContext()) != 0 {
		t.Errorf("volume is %v", v)
	}
	spec := f.agents[0].Volumes()[0].GetSpec()
	if spec.GetProfile() != profileName || spec.GetClaimName() != "data" || spec.GetClaimNamespace() != "shop" {
		t.Errorf("record is %v", spec)
	}
	if again := f.create(t, req); !proto.Equal(again, v) {
		t.Errorf("the second answer is %v, the first %v", again, v)
	}
	req.CapacityRange = &csi.CapacityRange{RequiredBytes: 2 * gib}
	_, err = f.controller.CreateVolume(t.Context(), req)
	wantCode(t, err, codes.AlreadyExists)
}

func TestWhatIsNotThereYetIsUnavailable(t *testing.T) {
	lost := backend("lost", 0, 1)
	lost.Status.Shards[0].Address = ""
	f := newFixture(t, profile("orphan", "nowhere"), profile("lost", "lost"), lost)
	for profile, named := range map[string]string{"unknown": `StorageProfile "unknown"`, "orphan": `NFSBackend "nowhere"`, "lost": `NFSBackend "lost"`} {
		req := createRequest("pvc-1")
		req.Parameters["profile"] = profile
		_, err := f.controller.CreateVolume(t.Context(), req)
		wantCode(t, err, codes.Unavailable)
		if !strings.Contains(status.Convert(err).Message(), named) {
			t.Errorf("message %q does not name %s", err, named)
		}
	}
	// A backend that is gone may have left data: that is no reason to say that a volume is deleted.
	_, err := f.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: "nowhere/0/aaaaaaaaaaaaaaaa"})
	wantCode(t, err, codes.Unavailable)
	f.stop[0]()
	_, err = f.controller.CreateVolume(t.Context(), createRequest("pvc-1"))
	wantCode(t, err, codes.Unavailable)
	if !strings.Contains(status.Convert(err).Message(), "nfsd-0-main") {
		t.Errorf("message %q does not name the server", err)
	}
}

func wideRequest(name string) *csi.CreateVolumeRequest {
	req := createRequest(name)
	req.Parameters["profile"] = "wide"
	return req
}

func TestPlacement(t *testing.T) {
	f := newFixture(t)
	seen := map[string]int{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		v := f.create(t, wideRequest(name))
		id, _ := volumeid.ParseVolume(v.GetVolumeId())
		seen[id.Shard.String()]++
	}
	if seen["wide/0"] != 2 || seen["wide/1"] != 2 || seen["wide/2"] != 2 {
		t.Errorf("volumes lie on %v", seen)
	}
	// Now another server has the most room; the volumes are found where they are.
	first := f.create(t, wideRequest("a"))
	big := wideRequest("big")
	big.CapacityRange.RequiredBytes = 100 * gib
	f.create(t, big)
	if again := f.create(t, wideRequest("a")); again.GetVolumeId() != first.GetVolumeId() {
		t.Errorf("volume a was made as %s and again as %s", first.GetVolumeId(), again.GetVolumeId())
	}
}

func TestNoServerIsGuessedWhileOneIsSilent(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, wideRequest("a"))
	id, _ := volumeid.ParseVolume(v.GetVolumeId())
	f.stop[int(id.Shard.Number)+1]()
	_, err := f.controller.CreateVolume(t.Context(), wideRequest("a"))
	wantCode(t, err, codes.Unavailable)
	_, err = f.controller.CreateVolume(t.Context(), wideRequest("b"))
	wantCode(t, err, codes.Unavailable)
}

// TestOneServerAwayHoldsUpNothing has the manager know of it.
func TestOneServerAwayHoldsUpNothing(t *testing.T) {
	b := backend("partly", 1, 2)
	b.Status.Shards[0].Serving = false
	f := newFixture(t, b, profile("partly", "partly"))
	req := createRequest("a")
	req.Parameters["profile"] = "partly"
	f.stop[1]()
	if v := f.create(t, req); !strings.HasPrefix(v.GetVolumeId(), "partly/1/") {
		t.Errorf("made at %s", v.GetVolumeId())
	}
}

// TestAVolumeOfAServerThatIsAwayIsFound has the server answer, though the manager has not seen yet that it is back.
func TestAVolumeOfAServerThatIsAwayIsFound(t *testing.T) {
	b := backend("partly", 1, 2)
	b.Status.Shards[1].Serving = false
	f := newFixture(t, b, profile("partly", "partly"))
	req := createRequest("a")
	req.Parameters["profile"] = "partly"
	first := f.create(t, req)
	current := &v1alpha1.NFSBackend{}
	if err := f.client.Get(t.Context(), client.ObjectKeyFromObject(b), current); err != nil {
		t.Fatal(err)
	}
	current.Status.Shards[0].Serving, current.Status.Shards[1].Serving = false, true
	if err := f.client.Update(t.Context(), current); err != nil {
		t.Fatal(err)
	}
	if again := f.create(t, req); again.GetVolumeId() != first.GetVolumeId() {
		t.Errorf("volume a was made as %s and again as %s", first.GetVolumeId(), again.GetVolumeId())
	}
}

func TestServerThatDoesNotServeGetsNothingNew(t *testing.T) {
	b := backend("partly", 1, 3)
	b.Status.Shards[0].Serving, b.Status.Shards[2].Serving = false, false
	f := newFixture(t, b, profile("partly", "partly"))
	for _, name := range []string{"a", "b"} {
		req := createRequest(name)
		req.Parameters["profile"] = "partly"
		if v := f.create(t, req); !strings.HasPrefix(v.GetVolumeId(), "partly/1/") {
			t.Errorf("made at %s", v.GetVolumeId())
		}
	}
}

func TestCopiesStayWithTheirSource(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c"} {
		source := f.create(t, wideRequest(name))
		id, _ := volumeid.ParseVolume(source.GetVolumeId())
		snap, err := f.controller.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: "snap-" + name, SourceVolumeId: source.GetVolumeId()})
		if err != nil {
			t.Fatal(err)
		}
		for kind, content := range map[string]*csi.VolumeContentSource{
			"clone": fromVolume(source.GetVolumeId()), "restore": fromSnapshot(snap.GetSnapshot().GetSnapshotId()),
		} {
			req := wideRequest(kind + name)
			req.VolumeContentSource = content
			v := f.create(t, req)
			if copied, _ := volumeid.ParseVolume(v.GetVolumeId()); copied.Shard != id.Shard || !proto.Equal(v.GetContentSource(), content) {
				t.Errorf("%s of %s is %v", kind, source.GetVolumeId(), v)
			}
			req = createRequest("elsewhere" + kind + name)
			req.VolumeContentSource = content
			_, err := f.controller.CreateVolume(t.Context(), req)
			wantCode(t, err, codes.InvalidArgument)
			if text := status.Convert(err).Message(); !strings.Contains(text, `"wide"`) || !strings.Contains(text, `"main"`) {
				t.Errorf("message %q does not name both backends", text)
			}
		}
	}
}

func TestAgentErrorsArePassedOn(t *testing.T) {
	f := newFixture(t)
	for _, code := range []codes.Code{codes.ResourceExhausted, codes.Aborted, codes.OutOfRange, codes.FailedPrecondition} {
		f.agents[0].Before(func(method string) error {
			if method != "CreateVolume" {
				return nil
			}
			return status.Error(code, "because")
		})
		_, err := f.controller.CreateVolume(t.Context(), createRequest("a"))
		wantCode(t, err, code)
		if text := status.Convert(err).Message(); text != "server nfsd-0-main: because" {
			t.Errorf("message is %q", text)
		}
	}
}

func TestDeleteWaitsForTheNodesNews(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, createRequest("a"))
	tries := 0
	f.agents[0].Before(func(method string) error {
		if tries++; tries <= 3 {
			return status.Error(codes.FailedPrecondition, "in use")
		}
		return nil
	})
	if _, err := f.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()}); err != nil {
		t.Error(err)
	}
	if len(f.agents[0].Volumes()) != 0 {
		t.Error("the volume is still there")
	}
	f.agents[0].Before(func(string) error { return status.Error(codes.FailedPrecondition, "in use") })
	_, err := f.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
	wantCode(t, err, codes.FailedPrecondition)
}

func TestSecondCallOnAVolumeIsAborted(t *testing.T) {
	f := newFixture(t)
	entered, release := make(chan struct{}), make(chan struct{})
	f.agents[0].Before(func(method string) error {
		if method == "CreateVolume" {
			close(entered)
			<-release
		}
		return nil
	})
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = f.controller.CreateVolume(t.Context(), createRequest("a")) })
	<-entered
	_, err := f.controller.CreateVolume(t.Context(), createRequest("a"))
	wantCode(t, err, codes.Aborted)
	close(release)
	wg.Wait()
}

func TestExpand(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, createRequest("a"))
	resp, err := f.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
		VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 3 * gib},
	})
	if err != nil || resp.GetCapacityBytes() != 3*gib || resp.GetNodeExpansionRequired() {
		t.Errorf("got %v, %v", resp, err)
	}
	for _, handle := range []string{"main/0/aaaaaaaaaaaaaaaa", "main/0/..", "x"} {
		_, err := f.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
			VolumeId: handle, CapacityRange: &csi.CapacityRange{RequiredBytes: 3 * gib},
		})
		wantCode(t, err, codes.NotFound)
	}
}

func TestValidate(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, createRequest("a"))
	block := &csi.VolumeCapability{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}, AccessMode: capability(1).GetAccessMode()}
	resp, err := f.controller.ValidateVolumeCapabilities(t.Context(), &csi.ValidateVolumeCapabilitiesRequest{
		VolumeId: v.GetVolumeId(), VolumeCapabilities: []*csi.VolumeCapability{block},
	})
	if err != nil || resp.GetConfirmed() != nil || !strings.Contains(resp.GetMessage(), "Block") {
		t.Errorf("got %v, %v", resp, err)
	}
}

func TestCapacity(t *testing.T) {
	f := newFixture(t)
	f.create(t, wideRequest("a"))
	f.stop[3]()
	tests := map[string]struct {
		req          *csi.GetCapacityRequest
		sum, largest int64
	}{
		"of a profile":   {&csi.GetCapacityRequest{Parameters: map[string]string{"profile": "wide"}}, 2*diskBytes - gib, diskBytes},
		"of all":         {&csi.GetCapacityRequest{}, 3*diskBytes - gib, diskBytes},
		"of block disks": {&csi.GetCapacityRequest{VolumeCapabilities: []*csi.VolumeCapability{{AccessType: &csi.VolumeCapability_Block{Block: &csi.VolumeCapability_BlockVolume{}}}}}, 0, 0},
	}
	for name, test := range tests {
		resp, err := f.controller.GetCapacity(t.Context(), test.req)
		if err != nil || resp.GetAvailableCapacity() != test.sum || resp.GetMaximumVolumeSize().GetValue() != test.largest {
			t.Errorf("%s: got %v, %v; want %d, %d", name, resp, err, test.sum, test.largest)
		}
	}
}

func TestListAcrossServersInPages(t *testing.T) {
	f := newFixture(t)
	var want []string
	for _, name := range strings.Split("abcdefghijk", "") {
		want = append(want, f.create(t, wideRequest(name)).GetVolumeId(), f.create(t, createRequest("m"+name)).GetVolumeId())
	}
	slices.Sort(want)
	for size := range int32(len(want) + 2) {
		var got []string
		token := ""
		for {
			resp, err := f.controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{MaxEntries: size, StartingToken: token})
			if err != nil {
				t.Fatal(err)
			}
			if size > 0 && len(resp.GetEntries()) > int(size) {
				t.Fatalf("%d entries in a page of %d", len(resp.GetEntries()), size)
			}
			for _, e := range resp.GetEntries() {
				got = append(got, e.GetVolume().GetVolumeId())
			}
			if token = resp.GetNextToken(); token == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages of %d: got %d volumes, want %d", size, len(got), len(want))
		}
	}
	f.stop[2]()
	_, err := f.controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
	wantCode(t, err, codes.Unavailable)
}

func TestSnapshotParameters(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, createRequest("a"))
	req := &csi.CreateSnapshotRequest{Name: "s", SourceVolumeId: v.GetVolumeId(), Parameters: map[string]string{
		parameterSnapshotName: "snap", parameterSnapshotNamespace: "shop", parameterContentName: "snapcontent-1",
	}}
	if _, err := f.controller.CreateSnapshot(t.Context(), req); err != nil {
		t.Error(err)
	}
	req.Parameters["path"] = "/etc"
	_, err := f.controller.CreateSnapshot(t.Context(), req)
	wantCode(t, err, codes.InvalidArgument)
}

func TestVolumesOfTheRecordKeepTheirID(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, createRequest("a"))
	id, _ := volumeid.ParseVolume(v.GetVolumeId())
	if !slices.ContainsFunc(f.agents[0].Volumes(), func(o *agentv1.Volume) bool { return o.GetId() == id.ID }) {
		t.Errorf("the agent has no %s", id.ID)
	}
	got, err := f.controller.ControllerGetVolume(t.Context(), &csi.ControllerGetVolumeRequest{VolumeId: v.GetVolumeId()})
	if err != nil || got.GetVolume().GetCapacityBytes() != gib || got.GetStatus() == nil {
		t.Errorf("ControllerGetVolume = %v, %v", got, err)
	}
}
