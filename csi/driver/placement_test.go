package driver

import (
	"strings"
	"testing"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

func clientKey(name string) types.NamespacedName { return types.NamespacedName{Name: name} }

// TestAHalfMadeVolumeIsFoundWhereItIs has a call cut off while its volume is being made, and all room go elsewhere.
func TestAHalfMadeVolumeIsFoundWhereItIs(t *testing.T) {
	f := newFixture(t)
	first := f.create(t, wideRequest("a"))
	id, _ := volumeid.ParseVolume(first.GetVolumeId())
	agent := f.agents[int(id.Shard.Number)+1]
	agent.SetHalfMade(id.ID, true)
	big := wideRequest("big")
	big.CapacityRange.RequiredBytes = diskBytes - 10*gib
	big.VolumeContentSource = nil
	for i := range 2 { // the other two are roomier no more, or this one is
		big.Name += "x"
		if v := f.create(t, big); i == 0 && strings.HasPrefix(v.GetVolumeId(), id.Shard.String()) {
			t.Fatalf("the large volume lies with the half-made one")
		}
	}
	if again := f.create(t, wideRequest("a")); again.GetVolumeId() != first.GetVolumeId() {
		t.Errorf("half made at %s, and made at %s", first.GetVolumeId(), again.GetVolumeId())
	}
}

func TestAVolumeIsFoundWhileAnotherServerIsSilent(t *testing.T) {
	f := newFixture(t)
	v := f.create(t, wideRequest("a"))
	id, _ := volumeid.ParseVolume(v.GetVolumeId())
	for i := range 3 {
		if int32(i) != id.Shard.Number {
			f.stop[i+1]()
		}
	}
	if again := f.create(t, wideRequest("a")); again.GetVolumeId() != v.GetVolumeId() {
		t.Errorf("made at %s, and again at %s", v.GetVolumeId(), again.GetVolumeId())
	}
	_, err := f.controller.CreateVolume(t.Context(), wideRequest("b"))
	wantCode(t, err, codes.Unavailable)
	if text := status.Convert(err).Message(); !strings.Contains(text, `look for volume "b"`) || !strings.Contains(text, "nfsd-") {
		t.Errorf("message %q does not say which server is silent", text)
	}
}

func selecting(name string, labels map[string]v1alpha1.LabelValue) *v1alpha1.StorageProfile {
	p := &v1alpha1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: name}}
	p.Spec.BackendSelector = &v1alpha1.LabelSelector{MatchLabels: labels}
	return p
}

// twoBackends are "one" and "two", which the profile "both" selects, on the servers that "wide" has otherwise.
func twoBackends(t *testing.T) *fixture {
	t.Helper()
	one, two := backend("one", 1, 1), backend("two", 2, 2)
	one.Labels = map[string]string{"tier": "gold"}
	two.Labels = map[string]string{"tier": "gold"}
	return newFixture(t, one, two, selecting("both", map[string]v1alpha1.LabelValue{"tier": "gold"}), profile("one", "one"))
}

func bothRequest(name string) *csi.CreateVolumeRequest {
	req := createRequest(name)
	req.Parameters["profile"] = "both"
	return req
}

func TestPlacementOverSeveralBackends(t *testing.T) {
	f := twoBackends(t)
	seen := map[string]int{}
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} {
		id, _ := volumeid.ParseVolume(f.create(t, bothRequest(name)).GetVolumeId())
		seen[id.Shard.String()]++
	}
	if seen["one/0"] != 2 || seen["two/0"] != 2 || seen["two/1"] != 2 {
		t.Errorf("volumes lie on %v", seen)
	}
	source := f.create(t, bothRequest("source"))
	clone := bothRequest("clone")
	clone.VolumeContentSource = fromVolume(source.GetVolumeId())
	from, _ := volumeid.ParseVolume(source.GetVolumeId())
	if to, _ := volumeid.ParseVolume(f.create(t, clone).GetVolumeId()); to.Shard != from.Shard {
		t.Errorf("the copy of %v lies on %v", from, to)
	}
	foreign := bothRequest("foreign")
	foreign.VolumeContentSource = fromVolume(f.create(t, createRequest("elsewhere")).GetVolumeId())
	_, err := f.controller.CreateVolume(t.Context(), foreign)
	wantCode(t, err, codes.InvalidArgument)
	if !strings.Contains(err.Error(), `"one", "two"`) {
		t.Errorf("message %q does not name the backends", err)
	}
}

// TestAVolumeIsFoundAfterTheSelectorHasChanged repeats a call after the profile was edited between the two.
func TestAVolumeIsFoundAfterTheSelectorHasChanged(t *testing.T) {
	f := twoBackends(t)
	v := f.create(t, bothRequest("a"))
	f.edit(t, "both", func(s *v1alpha1.StorageProfileSpec) {
		s.BackendSelector, s.BackendRef.Name = nil, backendName
	})
	if again := f.create(t, bothRequest("a")); again.GetVolumeId() != v.GetVolumeId() {
		t.Errorf("made at %s, and again at %s", v.GetVolumeId(), again.GetVolumeId())
	}
	// Servers that the profile does not choose hold nobody up.
	for i := 1; i < 4; i++ {
		f.stop[i]()
	}
	begin := time.Now()
	f.create(t, bothRequest("b"))
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

func TestABackendThatIsBeingDeletedIsPassedOver(t *testing.T) {
	f := twoBackends(t)
	two := &v1alpha1.NFSBackend{}
	if err := f.client.Get(t.Context(), clientKey("two"), two); err != nil {
		t.Fatal(err)
	}
	two.Finalizers = []string{"example.org/test"}
	if err := f.client.Update(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	if err := f.client.Delete(t.Context(), two); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		if v := f.create(t, bothRequest(name)); !strings.HasPrefix(v.GetVolumeId(), "one/0/") {
			t.Errorf("made at %s", v.GetVolumeId())
		}
	}
}
