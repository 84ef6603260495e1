//go:build envtest && bench

package controllers

import (
	"fmt"
	"maps"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	appsv1 "k8s.io/api/apps/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/bench"
)

const (
	scaleBackends = 200
	scaleProfiles = 1000
	// restricted is how many of the profiles have an admission policy: every so-many-th.
	restricted = 4
)

// TestScale starts the manager before a cluster full of custom resources, as after an upgrade, and waits until all of
// them are reconciled: the operands are there, and the status is about the spec as it is. No server runs, so the time is
// that of the manager and the API server. There is one run: a second would find everything done.
func TestScale(t *testing.T) {
	c := testenv.Client(t)
	createAll(t, c)
	before, cpuBefore := heap(), cpuSeconds(t)
	begin := time.Now()
	requests := startManager(t, c)
	for !reconciled(t, c) {
		if time.Since(begin) > time.Hour {
			t.Fatal("not reconciled within an hour")
		}
		<-time.After(2 * time.Second) // to look costs as much as some passes do
	}
	took := time.Since(begin)
	how := fmt.Sprintf("%d StorageProfiles, every %dth restricted, on %d NFSBackends of one server, a real API server without other controllers, manager started before them",
		scaleProfiles, restricted, scaleBackends)
	bench.Record(t, "scale_reconciled_s", how, took.Seconds())
	bench.Record(t, "scale_api_requests", how, float64(sum(t, requests.Counts())))
	bench.Record(t, "scale_cpu_s", how, cpuSeconds(t)-cpuBefore)
	bench.Record(t, "scale_heap_mib", how+"; live heap after a collection", (heap()-before)/(1<<20))
}

// sum adds the requests up, and logs what they were.
func sum(t *testing.T, counts map[testenv.Right]int) int {
	t.Helper()
	all := 0
	for _, right := range slices.Sorted(maps.Keys(counts)) {
		t.Logf("%6d %s", counts[right], right)
		all += counts[right]
	}
	return all
}

// cpuSeconds is what this process has taken, which varies less with what else the machine does than the time on the clock.
func cpuSeconds(t *testing.T) float64 {
	t.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		t.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano()).Seconds()
}

func heap() float64 {
	runtime.GC()
	runtime.GC() // what pools hold goes the second time
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return float64(stats.HeapAlloc)
}

func createAll(t *testing.T, c client.Client) {
	t.Helper()
	create := func(obj client.Object) {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	for i := range scaleBackends {
		create(&v1alpha1.NFSBackend{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("backend-%03d", i)},
			Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
				VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{Size: resource.MustParse("10Gi")},
			}}},
		})
	}
	for i := range scaleProfiles {
		profile := &v1alpha1.StorageProfile{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("profile-%04d", i)},
			Spec:       v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: fmt.Sprintf("backend-%03d", i%scaleBackends)}},
		}
		if i%restricted == 0 {
			profile.Spec.MaxVolumeSize = new(resource.MustParse("5Gi"))
		}
		create(profile)
	}
}

func reconciled(t *testing.T, c client.Client) bool {
	t.Helper()
	classes, sets := &storagev1.StorageClassList{}, &appsv1.StatefulSetList{}
	profiles, backends := &v1alpha1.StorageProfileList{}, &v1alpha1.NFSBackendList{}
	for _, list := range []client.ObjectList{classes, sets, profiles, backends} {
		if err := c.List(t.Context(), list, client.InNamespace("")); err != nil {
			t.Fatal(err)
		}
	}
	servers := 0
	for i := range sets.Items {
		if sets.Items[i].Labels[names.LabelComponent] == names.ComponentServer {
			servers++
		}
	}
	if len(classes.Items) < scaleProfiles || servers < scaleBackends {
		return false
	}
	for i := range profiles.Items {
		if profiles.Items[i].Status.ObservedGeneration != profiles.Items[i].Generation {
			return false
		}
	}
	for i := range backends.Items {
		if backends.Items[i].Status.ObservedGeneration != backends.Items[i].Generation {
			return false
		}
	}
	return true
}
