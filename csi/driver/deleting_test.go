package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// deleteBackend gives a backend its deletionTimestamp; the finalizer keeps it.
func (f *fixture) deleteBackend(t *testing.T, name string) {
	t.Helper()
	b := &v1alpha1.NFSBackend{}
	if err := f.client.Get(t.Context(), client.ObjectKey{Name: name}, b); err != nil {
		t.Fatal(err)
	}
	b.Finalizers = []string{"example.org/test"}
	if err := f.client.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if err := f.client.Delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func wantBeingDeleted(t *testing.T, err error) {
	t.Helper()
	wantCode(t, err, codes.Unavailable)
	if err == nil || !strings.Contains(err.Error(), "is being deleted") {
		t.Errorf("the error does not say why: %v", err)
	}
}

func TestBackendBeingDeletedTakesNothingNew(t *testing.T) {
	for _, name := range []string{profileName, "wide"} { // profiles of a backend with one server and of one with three
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			request := func(volume string) *csi.CreateVolumeRequest {
				req := createRequest(volume)
				req.Parameters["profile"] = name
				return req
			}
			v := f.create(t, request("old"))
			snapshotOf := func(name string) (*csi.CreateSnapshotResponse, error) {
				return f.controller.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: v.GetVolumeId()})
			}
			s, err := snapshotOf("old")
			wantCode(t, err, codes.OK)
			backend := backendName
			if name == "wide" {
				backend = "wide"
			}
			f.deleteBackend(t, backend)

			_, err = f.controller.CreateVolume(t.Context(), request("new"))
			wantBeingDeleted(t, err)
			clone := request("clone")
			clone.VolumeContentSource = &csi.VolumeContentSource{Type: &csi.VolumeContentSource_Volume{
				Volume: &csi.VolumeContentSource_VolumeSource{VolumeId: v.GetVolumeId()},
			}}
			_, err = f.controller.CreateVolume(t.Context(), clone)
			wantBeingDeleted(t, err)
			_, err = snapshotOf("new")
			wantBeingDeleted(t, err)
			capacity, err := f.controller.GetCapacity(t.Context(), &csi.GetCapacityRequest{Parameters: map[string]string{"profile": name}})
			if err != nil || capacity.GetAvailableCapacity() != 0 {
				t.Errorf("capacity is %v, %v", capacity, err)
			}

			// What there is goes on.
			if again := f.create(t, request("old")); again.GetVolumeId() != v.GetVolumeId() {
				t.Errorf("the repeated call answers %v", again)
			}
			_, err = snapshotOf("old")
			wantCode(t, err, codes.OK)
			list, err := f.controller.ListVolumes(t.Context(), &csi.ListVolumesRequest{})
			if err != nil || len(list.GetEntries()) != 1 {
				t.Errorf("list is %v, %v", list, err)
			}
			_, err = f.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
				VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: 2 * gib},
			})
			wantCode(t, err, codes.OK)
			_, err = f.controller.DeleteSnapshot(t.Context(), &csi.DeleteSnapshotRequest{SnapshotId: s.GetSnapshot().GetSnapshotId()})
			wantCode(t, err, codes.OK)
			_, err = f.controller.DeleteVolume(t.Context(), &csi.DeleteVolumeRequest{VolumeId: v.GetVolumeId()})
			wantCode(t, err, codes.OK)
		})
	}
}
