//go:build bench

package cluster

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/nfs-operator/nfs-operator/test/bench"
	"github.com/nfs-operator/nfs-operator/test/story"
)

const (
	claimsPatience = 40 * time.Minute
	creators       = 32
)

// claimsMade is how many claims there are at once; BENCH_CLAIMS lowers it for a machine that is too slow.
func claimsMade(t *testing.T) int {
	t.Helper()
	n, err := strconv.Atoi(os.Getenv("BENCH_CLAIMS"))
	if err != nil || n < 1 {
		return 1000
	}
	return n
}

// TestClaims makes many claims at once and follows them until all are Bound. BENCH_LIMITS=_default says that
// kube-controller-manager, which binds, runs with its default limits, and is the end of the figures' keys.
func TestClaims(t *testing.T) {
	n, suffix := claimsMade(t), os.Getenv("BENCH_LIMITS")
	k := newNamespace(t, "bench-claims"+strings.ReplaceAll(suffix, "_", "-"))
	c := k.client()
	idle := c.usage(c.nodes()...)
	requests, begin := c.requests(), time.Now()
	bound := c.bindClaims(n)
	took := bench.Percentile(bound, 100)
	asked := c.requests() - requests
	busy := c.usage(c.nodes()...)
	writes, err := k.Writes(begin, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	how := fmt.Sprintf("%d claims of 1 MiB made at once by %d callers, as a watch sees them; local cluster of two nodes", n, creators)
	bench.Record(t, "pvc_bound_per_s"+suffix, how, float64(n)/took)
	bench.Record(t, "pvc_bound_p50_s"+suffix, how, bench.Percentile(bound, 50))
	bench.Record(t, "pvc_bound_p99_s"+suffix, how, bench.Percentile(bound, 99))
	bench.Record(t, "pvc_api_requests"+suffix, how+"; apiserver_request_total, everybody's, that which makes the claim included", asked/float64(n))
	bench.Record(t, "pvc_api_writes"+suffix, how+"; audit log", float64(len(writes))/float64(n))
	if suffix != "" {
		return
	}
	recordUsage(t, how, idle, busy, n)
}

// bindClaims returns the seconds from before the first claim was made until each was Bound.
func (c client) bindClaims(n int) []float64 {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), claimsPatience)
	defer cancel()
	// An informer, for a watch that is not read all the time, or lasts for minutes, may be ended by the API server.
	factory := informers.NewSharedInformerFactoryWithOptions(c.api, 0, informers.WithNamespace(c.Namespace))
	claims := factory.Core().V1().PersistentVolumeClaims().Informer()
	bound := make(chan time.Time, n)
	seen := map[string]bool{}
	note := func(object any) {
		if claim := object.(*corev1.PersistentVolumeClaim); claim.Status.Phase == corev1.ClaimBound && !seen[claim.Name] {
			seen[claim.Name] = true
			bound <- time.Now()
		}
	}
	if _, err := claims.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, now any) { note(now) }}); err != nil {
		c.t.Fatal(err)
	}
	factory.StartWithContext(ctx)
	defer factory.Shutdown()
	defer cancel()
	factory.WaitForCacheSyncWithContext(ctx)

	begin := time.Now()
	c.createClaims(ctx, n)
	c.t.Logf("%d claims made after %s", n, time.Since(begin).Round(time.Second))
	seconds := make([]float64, 0, n)
	for len(seconds) < n {
		select {
		case moment := <-bound:
			seconds = append(seconds, moment.Sub(begin).Seconds())
		case <-ctx.Done():
			c.t.Fatalf("%d of %d claims are Bound after %s", len(seconds), n, time.Since(begin).Round(time.Second))
		}
	}
	return seconds
}

func (c client) createClaims(ctx context.Context, n int) {
	atOnce(n, func(i int) {
		claim := &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("claim-%d", i)}, Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: new(story.Class), AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources: corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Mi")}},
		}}
		if _, err := c.api.CoreV1().PersistentVolumeClaims(c.Namespace).Create(ctx, claim, metav1.CreateOptions{}); err != nil {
			c.t.Error(err)
		}
	})
}

// atOnce calls create with 0 to n-1, by many callers.
func atOnce(n int, create func(i int)) {
	next := make(chan int)
	var all sync.WaitGroup
	for range creators {
		all.Go(func() {
			for i := range next {
				create(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
}

// requests is how many requests the API server has answered, whoever asked. A watch counts when it ends.
func (c client) requests() (sum float64) {
	c.t.Helper()
	for line := range strings.Lines(c.do("get", "--raw", "/metrics")) {
		if !strings.HasPrefix(line, "apiserver_request_total{") {
			continue
		}
		fields := strings.Fields(line)
		value, err := strconv.ParseFloat(fields[len(fields)-1], 64)
		if err != nil {
			c.t.Fatal(err)
		}
		sum += value
	}
	return sum
}
