//go:build e2e

package e2e

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// attributesClass makes a VolumeAttributesClass of this test's own.
func (e *env) attributesClass(suffix, parameters string) string {
	e.t.Helper()
	name := e.name(suffix)
	e.apply(fmt.Sprintf(`{apiVersion: storage.k8s.io/v1, kind: VolumeAttributesClass, metadata: {name: %s}, driverName: %s, parameters: {%s}}`,
		name, names.Driver, parameters))
	e.atEnd("delete", "volumeattributesclass", name, "--ignore-not-found", "--wait=false")
	return name
}

// TestVolumeAttributesClass: a claim is made with one class, and changes to another while a pod uses it; the pod's mount shows it. A class
// that the driver refuses is said so at the claim, and changes nothing.
func TestVolumeAttributesClass(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	small := e.attributesClass("small", `inodes: "5000", squash: None`)
	squashed := e.attributesClass("squashed", `inodes: "6000", squash: All, anonymousUID: "1234", anonymousGID: "1235"`)
	wrong := e.attributesClass("wrong", `squash: Sometimes`)
	change := func(class string) {
		e.do("patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"volumeAttributesClassName":"`+class+`"}}`)
	}
	current := func(class string) {
		e.do("wait", "--for=jsonpath={.status.currentVolumeAttributesClassName}="+class, "--timeout=600s", "pvc/data")
		if got := e.get("pv/"+e.get("pvc/data", "{.spec.volumeName}"), "{.spec.volumeAttributesClassName}"); got != class {
			t.Errorf("the claim's class is %s, and its PersistentVolume's %q", class, got)
		}
	}
	inodes := []string{"exec", "a", "--", "sh", "-c", "df -i /data | tail -n 1 | awk '{print $(NF-4)}'"}
	owner := func(file string) string {
		return e.shell("a", "touch /data/"+file+" && stat -c %u:%g /data/"+file)
	}

	e.create(newClaim("data", func(s *corev1.PersistentVolumeClaimSpec) { s.VolumeAttributesClassName = &small }), newPod("a", "data"))
	e.ready("a")
	current(small)
	if got := e.do(inodes...); got != "5000" {
		t.Errorf("the volume was made for %s files, and the class says 5000", got)
	}
	if got := owner("first"); got != "0:0" {
		t.Errorf("a file of root belongs to %s", got)
	}

	change(squashed)
	current(squashed)
	e.await("the mount in use is for 6000 files", is("6000"), inodes...)
	if got := owner("second"); got != "1234:1235" {
		t.Errorf("a file of root that is squashed belongs to %s", got)
	}

	change(wrong)
	e.event("pvc/data", "mutable parameter")
	if got := e.get("pvc/data", "{.status.currentVolumeAttributesClassName}"); got != squashed {
		t.Errorf("a class that is refused became the current one, instead of %s: %s", squashed, got)
	}
	change(small)
	current(small)
	if got := owner("third"); got != "0:0" {
		t.Errorf("back in the first class a file of root belongs to %s", got)
	}
	if got := e.shell("a", "ls /data"); strings.Fields(got)[0] != "first" {
		t.Errorf("the volume holds %q", got)
	}
}
