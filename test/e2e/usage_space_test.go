//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

const noSpace = "No space left on device"

// TestSizeEnforced fills one volume; its neighbour on the same disk does not notice.
func TestSizeEnforced(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	e.create(newClaim("full"), newClaim("neighbour"),
		newPod("a", "full", withVolume("/neighbour", claimVolume("neighbour"))))
	e.ready("a")
	if got := e.shell("a", "df -k /data | tail -n 1 | awk '{print $(NF-4)}'"); got != "65536" {
		t.Errorf("df says that a volume of 64Mi has %s KiB", got)
	}
	if got := e.shell("a", "dd if=/dev/zero of=/data/big bs=1M count=100 conv=fsync 2>&1 || true"); !strings.Contains(got, noSpace) {
		t.Errorf("100 MiB into a volume of 64Mi: %q", got)
	}
	used := e.server("du -sk /data/by-claim/" + e.Namespace + "/full/ | cut -f1")
	if kib, err := strconv.Atoi(used); err != nil || kib > 65536 {
		t.Errorf("the volume of 64Mi takes %s KiB of the disk", used)
	}
	e.shell("a", "dd if=/dev/zero of=/neighbour/file bs=1M count=16 conv=fsync 2>&1")
	e.shell("a", "rm /data/big && sync && dd if=/dev/zero of=/data/again bs=1M count=16 conv=fsync 2>&1")
}

func TestExpandInUse(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	most := resource.MustParse("256Mi")
	class := e.profile("bounded", func(s *v1alpha1.StorageProfileSpec) { s.MaxVolumeSize = &most })
	e.create(newClaim("data", ofClass(class)), newPod("a", "data"))
	e.ready("a")
	grow := func(size string) []string {
		return []string{"patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"` + size + `"}}}}`}
	}
	e.do(grow("128Mi")...)
	e.do("wait", "--for=jsonpath={.status.capacity.storage}=128Mi", "--timeout=600s", "pvc/data")
	e.await("df in the running pod says 128Mi", is("131072"), "exec", "a", "--", "sh", "-c", "df -k /data | tail -n 1 | awk '{print $(NF-4)}'")
	e.shell("a", "dd if=/dev/zero of=/data/big bs=1M count=100 conv=fsync 2>&1")

	if message := e.refused("", grow("64Mi")...); !strings.Contains(message, "can not be less than") {
		t.Errorf("shrinking is refused with %q", message)
	}
	// Where admission does not refuse it, the driver does, and says why at the claim.
	if _, err := e.Run(t.Context(), grow("1Gi")...); err != nil {
		if !strings.Contains(err.Error(), "256Mi") {
			t.Errorf("growing past the profile's maxVolumeSize is refused with %q", err)
		}
		return
	}
	e.event("pvc/data", strconv.Itoa(256<<20))
}

// TestGrowthRefusedByProfile is a profile with volumeExpansion Refused.
func TestGrowthRefusedByProfile(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("fixed", func(s *v1alpha1.StorageProfileSpec) { s.VolumeExpansion = v1alpha1.ExpansionRefused })
	e.create(newClaim("data", ofClass(class)))
	e.bound("data")
	message := e.refused("", "patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"128Mi"}}}}`)
	if !strings.Contains(message, "resize") {
		t.Errorf("growing is refused with %q", message)
	}
}

func claimVolume(name string) corev1.VolumeSource {
	return corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name}}
}
