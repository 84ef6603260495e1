//go:build e2e && long

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// TestClaimDeletedWhileItsVolumeIsMade: no volume stays that nobody knows of. csi-provisioner remembers what it has asked for; when it
// dies, too, the sweep finds the volume, after an hour in which nobody has asked for it.
func TestClaimDeletedWhileItsVolumeIsMade(t *testing.T) {
	e := newEnv(t)
	e.create(newClaim("source", ofSize("1Gi")))
	e.bound("source")
	// A copy of so many files takes seconds.
	e.server("cd /data/by-claim/" + e.Namespace + "/source/ && mkdir d && cd d && seq 4000 | xargs touch")
	begin := func(claim string) (record string) {
		e.create(newClaim(claim, ofSize("1Gi"), from("", "PersistentVolumeClaim", "source")))
		return e.await("the volume is being made", func(got string) bool { return strings.HasSuffix(got, ".creating") }, e.recordsOf(claim)...)
	}
	noVolume := func(claim string) {
		e.await("no PersistentVolume of "+claim+" is left", func(got string) bool { return !strings.Contains(got+" ", e.Namespace+"/"+claim+" ") },
			"get", "pv", "-o", `jsonpath={range .items[*]}{.spec.claimRef.namespace}/{.spec.claimRef.name} {end}`)
	}

	record := begin("clone-1")
	e.do("delete", "pvc", "clone-1", "--timeout=600s")
	e.await("the volume is gone", is(""), listed(record)...)
	noVolume("clone-1")

	record = begin("clone-2")
	e.do("delete", "pvc", "clone-2", "--wait=false")
	e.do("-n", systemNamespace, "delete", "pod", "-l", names.LabelComponent+"="+names.ComponentController, "--force", "--grace-period=0")
	ready := strings.TrimSuffix(record, ".creating") + ".json"
	e.await("the volume is made, for nobody", is(ready), listed(record)...)
	e.do("wait", "--for=delete", "pvc/clone-2", "--timeout=600s")
	noVolume("clone-2")
	// An hour passes.
	e.server("cd /data/.nfs-operator/volumes && grep -q '\"provisional\": *true' " + ready +
		` && sed -i 's/"asked": *"[^"]*"/"asked": "2020-01-01T00:00:00Z"/' ` + ready)
	e.do("-n", systemNamespace, "delete", "pod", serverPod, "--timeout=600s")
	e.do("-n", systemNamespace, "wait", "--for=condition=Ready", "--timeout=600s", "pod/"+serverPod)
	if _, err := e.Until(t.Context(), 25*time.Minute, "the volume is swept", is(""), listed(record)...); err != nil {
		t.Fatal(err)
	}
	e.await("an event says so", func(got string) bool { return strings.Contains(got, e.Namespace+"/clone-2") },
		"get", "events", "-A", "--field-selector", "reason=OrphanedVolumeDeleted", "-o", `jsonpath={.items[*].message}`)
	if got := e.do(e.recordsOf("source")...); !strings.HasSuffix(got, ".json") {
		t.Errorf("the record of the source is %q", got)
	}
}

// recordsOf asks the server for the record of the volume that was made for a claim.
func (e *env) recordsOf(claim string) []string {
	return []string{
		"-n", systemNamespace, "exec", serverPod, "--", "sh", "-c",
		`cd /data/.nfs-operator/volumes && grep -l '"claimNamespace": *"` + e.Namespace + `","claimName": *"` + claim + `"' *`,
	}
}

// listed asks for a volume's record whatever its state: a search in the files could miss one that is being renamed.
func listed(record string) []string {
	id, _, _ := strings.Cut(record, ".")
	return []string{"-n", systemNamespace, "exec", serverPod, "--", "sh", "-c", "ls /data/.nfs-operator/volumes | grep '^" + id + "' || true"}
}
