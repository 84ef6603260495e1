//go:build e2e

package e2e

import (
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// newBackend is an NFSBackend of a test's own, on one disk of local-block; changes may say otherwise. It is not applied yet, and
// nothing deletes it: see releaseDisks.
func newBackend(changes ...func(*v1alpha1.NFSBackendSpec)) *v1alpha1.NFSBackend {
	class := "local-block"
	b := &v1alpha1.NFSBackend{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "NFSBackend"},
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-" + strconv.FormatInt(time.Now().UnixMilli()%1e10, 36)},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{StorageClassName: &class, Size: resource.MustParse("5Gi")},
		}}},
	}
	for _, change := range changes {
		change(&b.Spec)
	}
	return b
}

// releaseDisks lets the next test have the disks that the claims of a backend had: wiped, and Available. The claims must be gone. A wiped disk is used
// again only when its PersistentVolume does not say whose it was.
func (e *env) releaseDisks(backend string) {
	e.t.Helper()
	ctx, cancel := cleanUpContext()
	defer cancel()
	suffix := names.DataClaim(backend, 0)[len("data-nfsd-0"):]
	if _, err := e.Until(ctx, 5*time.Minute, "the disks of "+backend+" are released", func(got string) bool {
		return !strings.Contains(got+" ", suffix+" ")
	}, "get", "pv", "-o", `jsonpath={range .items[?(@.status.phase=="Bound")]}{.spec.claimRef.name} {end}`); err != nil {
		e.t.Error(err)
		return
	}
	released, err := e.Run(ctx, "get", "pv", "-o",
		`jsonpath={range .items[?(@.status.phase=="Released")]}{.metadata.name} {.spec.claimRef.name} {.spec.local.path} {.spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[0].values[0]}{"\n"}{end}`)
	if err != nil {
		e.t.Error(err)
		return
	}
	for line := range strings.Lines(released) {
		f := strings.Fields(line)
		if len(f) != 4 || !strings.HasSuffix(f[1], suffix) {
			continue
		}
		if out, err := onNode(e.t, f[3], "dd", "if=/dev/zero", "of="+f[2], "bs=1M", "count=16", "conv=fsync"); err != nil {
			e.t.Errorf("wiping %s on %s: %v\n%s", f[2], f[3], err, out)
		}
		if _, err := e.Run(ctx, "patch", "pv", f[0], "--type=merge", "-p",
			`{"spec":{"claimRef":null},"metadata":{"annotations":{"storage.nfs-operator.io/server-id":null}}}`); err != nil {
			e.t.Error(err)
		}
	}
}

// onBackend makes a profile's volumes on another backend than that of config/samples.
func onBackend(name string) func(*v1alpha1.StorageProfileSpec) {
	return func(s *v1alpha1.StorageProfileSpec) { s.BackendRef.Name = name }
}
