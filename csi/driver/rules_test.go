package driver

import (
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

func restricted(change func(*v1alpha1.StorageProfileSpec)) *v1alpha1.StorageProfile {
	p := profile("restricted", backendName)
	change(&p.Spec)
	return p
}

func restrictedRequest(name string) *csi.CreateVolumeRequest {
	req := createRequest(name)
	req.Parameters = map[string]string{"profile": "restricted", parameterClaimNamespace: "shop", parameterClaimName: "data"}
	return req
}

func TestRulesOfTheProfile(t *testing.T) {
	for name, test := range map[string]struct {
		rule func(*v1alpha1.StorageProfileSpec)
		mode csi.VolumeCapability_AccessMode_Mode
		code codes.Code
		says string
	}{
		"other namespace": {func(s *v1alpha1.StorageProfileSpec) {
			s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{"bank"}}
		}, 0, codes.PermissionDenied, `allowedNamespaces of StorageProfile "restricted" does not allow namespace "shop"`},
		"own namespace": {func(s *v1alpha1.StorageProfileSpec) {
			s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{"bank", "shop"}}
		}, 0, codes.OK, ""},
		"too small": {func(s *v1alpha1.StorageProfileSpec) {
			s.MinVolumeSize = new(resource.MustParse("2Gi"))
		}, 0, codes.OutOfRange, "minVolumeSize (2Gi)"},
		"too large": {func(s *v1alpha1.StorageProfileSpec) {
			s.MaxVolumeSize = new(resource.MustParse("512Mi"))
		}, 0, codes.OutOfRange, "maxVolumeSize (512Mi)"},
		"other mode": {func(s *v1alpha1.StorageProfileSpec) {
			s.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce, corev1.ReadOnlyMany}
		}, csi.VolumeCapability_AccessMode_MULTI_NODE_MULTI_WRITER, codes.InvalidArgument, "are ReadWriteOnce, ReadOnlyMany, not ReadWriteMany"},
		"its mode": {func(s *v1alpha1.StorageProfileSpec) {
			s.AccessModes = []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce}
		}, csi.VolumeCapability_AccessMode_SINGLE_NODE_MULTI_WRITER, codes.OK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, restricted(test.rule))
			req := restrictedRequest("pvc-1")
			if test.mode != 0 {
				req.VolumeCapabilities[0].AccessMode.Mode = test.mode
			}
			_, err := f.controller.CreateVolume(t.Context(), req)
			wantCode(t, err, test.code)
			if text := status.Convert(err).Message(); !strings.Contains(text, test.says) {
				t.Errorf("message %q does not say %q", text, test.says)
			}
			if got := len(f.agents[0].Volumes()); (got == 1) != (test.code == codes.OK) {
				t.Errorf("%d volumes were made", got)
			}
		})
	}
}

func TestWhatWasMadeIsAnsweredWithWhateverTheRulesSayNow(t *testing.T) {
	f := newFixture(t, restricted(func(*v1alpha1.StorageProfileSpec) {}))
	v := f.create(t, restrictedRequest("pvc-1"))
	f.edit(t, "restricted", func(s *v1alpha1.StorageProfileSpec) {
		s.MaxVolumeSize = new(resource.MustParse("512Mi"))
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Names: []string{"bank"}}
		s.BackendRef.Name = "wide"
	})
	if again := f.create(t, restrictedRequest("pvc-1")); again.GetVolumeId() != v.GetVolumeId() {
		t.Errorf("made as %s, and again as %s", v.GetVolumeId(), again.GetVolumeId())
	}
	_, err := f.controller.CreateVolume(t.Context(), createRequest("pvc-1")) // from another profile
	wantCode(t, err, codes.AlreadyExists)
}

func (f *fixture) edit(t *testing.T, name string, change func(*v1alpha1.StorageProfileSpec)) {
	t.Helper()
	p := &v1alpha1.StorageProfile{}
	if err := f.client.Get(t.Context(), clientKey(name), p); err != nil {
		t.Fatal(err)
	}
	change(&p.Spec)
	if err := f.client.Update(t.Context(), p); err != nil {
		t.Fatal(err)
	}
}

func TestExpansionObeysTheProfileAsItIsNow(t *testing.T) {
	f := newFixture(t, restricted(func(s *v1alpha1.StorageProfileSpec) { s.MaxVolumeSize = new(resource.MustParse("2Gi")) }))
	v := f.create(t, restrictedRequest("pvc-1"))
	expand := func(bytes int64) error {
		_, err := f.controller.ControllerExpandVolume(t.Context(), &csi.ControllerExpandVolumeRequest{
			VolumeId: v.GetVolumeId(), CapacityRange: &csi.CapacityRange{RequiredBytes: bytes},
		})
		return err
	}
	err := expand(3 * gib)
	wantCode(t, err, codes.OutOfRange)
	if !strings.Contains(err.Error(), `maxVolumeSize (2Gi) of StorageProfile "restricted"`) {
		t.Errorf("message %q does not name the rule", err)
	}
	f.edit(t, "restricted", func(s *v1alpha1.StorageProfileSpec) { s.MaxVolumeSize = new(resource.MustParse("4Gi")) })
	wantCode(t, expand(3*gib), codes.OK)
	f.edit(t, "restricted", func(s *v1alpha1.StorageProfileSpec) { s.MaxVolumeSize = new(resource.MustParse("1Gi")) })
	wantCode(t, expand(3*gib), codes.OK) // it has them already
	wantCode(t, expand(3*gib+1), codes.OutOfRange)
	// Without its profile, a volume keeps the last rule that it grew under.
	if err := f.client.Delete(t.Context(), profile("restricted", backendName)); err != nil {
		t.Fatal(err)
	}
	wantCode(t, expand(4*gib), codes.OK)
	wantCode(t, expand(5*gib), codes.OutOfRange)
}

func TestMaxSnapshots(t *testing.T) {
	f := newFixture(t, restricted(func(s *v1alpha1.StorageProfileSpec) { s.Snapshots.MaxSnapshots = new(int32(2)) }))
	v := f.create(t, restrictedRequest("pvc-1"))
	take := func(name string) error {
		_, err := f.controller.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: v.GetVolumeId()})
		return err
	}
	for _, name := range []string{"a", "b", "a", "b"} {
		wantCode(t, take(name), codes.OK)
	}
	err := take("c")
	wantCode(t, err, codes.ResourceExhausted)
	if !strings.Contains(err.Error(), `snapshots.maxSnapshots of StorageProfile "restricted" is 2`) {
		t.Errorf("message %q does not name the rule", err)
	}
	f.edit(t, "restricted", func(s *v1alpha1.StorageProfileSpec) { s.Snapshots.MaxSnapshots = nil })
	wantCode(t, take("c"), codes.OK)
}

// TestASnapshotThatIsBeingMade counts, so that not too many are begun, and is none for anybody else. Calls for it hold up no other.
func TestASnapshotThatIsBeingMade(t *testing.T) {
	f := newFixture(t, restricted(func(s *v1alpha1.StorageProfileSpec) { s.Snapshots.MaxSnapshots = new(int32(2)) }))
	v := f.create(t, restrictedRequest("pvc-1"))
	take := func(name string) error {
		_, err := f.controller.CreateSnapshot(t.Context(), &csi.CreateSnapshotRequest{Name: name, SourceVolumeId: v.GetVolumeId()})
		return err
	}
	listed := func() int {
		list, err := f.controller.ListSnapshots(t.Context(), &csi.ListSnapshotsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.GetEntries())
	}
	f.agents[0].Copy(true)
	for _, name := range []string{"a", "b", "a"} {
		wantCode(t, take(name), codes.Aborted)
	}
	wantCode(t, take("c"), codes.ResourceExhausted)
	if n := listed(); n != 0 {
		t.Errorf("%d snapshots are listed, none is cut", n)
	}
	f.agents[0].Before(func(method string) error { // while "a" waits for its copy
		if method == "CreateSnapshot" {
			f.agents[0].Before(nil)
			wantCode(t, take("b"), codes.Aborted)
		}
		return nil
	})
	wantCode(t, take("a"), codes.Aborted)
	f.agents[0].Copy(false)
	wantCode(t, take("a"), codes.OK)
	if n := listed(); n != 1 {
		t.Errorf("%d snapshots are listed, 1 is cut", n)
	}
}
