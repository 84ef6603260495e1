package sweep

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubefake "k8s.io/client-go/kubernetes/fake"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	fakeagent "github.com/nfs-operator/nfs-operator/csi/agents/fake"
	"github.com/nfs-operator/nfs-operator/csi/catalog"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

const hour = int64(3600)

// fixture is a backend "main" with two servers, and a cluster.
type fixture struct {
	*Sweeper
	agents   []*fakeagent.Agent
	stop     []func()
	client   client.Client
	registry *prometheus.Registry
	lists    int   // of PersistentVolumes
	failing  error // of them
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	f := &fixture{registry: prometheus.NewRegistry()}
	byAddress := map[string]*fakeagent.Agent{}
	b := &v1alpha1.NFSBackend{ObjectMeta: metav1.ObjectMeta{Name: "main", UID: "backend-uid"}}
	for i := range 2 {
		agent, stop := fakeagent.New(1 << 40)
		address := fmt.Sprintf("10.0.0.%d", i+1)
		t.Cleanup(func() { f.stop[i]() })
		f.agents, f.stop, byAddress[address] = append(f.agents, agent), append(f.stop, stop), agent
		b.Status.Shards = append(b.Status.Shards, v1alpha1.ShardStatus{Shard: int32(i), ServerID: address, Serving: true, Address: address})
	}
	pool := fakeagent.Pool(byAddress)
	t.Cleanup(pool.Close)
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	f.client = fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(b).WithInterceptorFuncs(interceptor.Funcs{
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if _, ok := list.(*corev1.PersistentVolumeList); ok {
				f.lists++
				if f.failing != nil {
					return f.failing
				}
			}
			return c.List(ctx, list, opts...)
		},
	}).Build()
	f.Sweeper = New(catalog.New(f.client, f.client), pool, NewObjects(f.client, "test", logr.Discard()), NewMetrics(f.registry), logr.Discard())
	return f
}

// volume makes one on a server as csi-provisioner has it made for claim shop/NAME, and says where.
func (f *fixture) volume(t *testing.T, server int, claim string) (handle, id string) {
	t.Helper()
	v, err := f.agents[server].CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{
		Name: claimPrefix + claim + "-uid", Spec: &agentv1.VolumeSpec{Bytes: 1, ClaimNamespace: "shop", ClaimName: claim},
	})
	if err != nil {
		t.Fatal(err)
	}
	return volumeid.Volume{Shard: volumeid.Shard{Backend: "main", Number: int32(server)}, ID: v.GetId()}.String(), v.GetId()
}

func (f *fixture) make(t *testing.T, o client.Object) {
	t.Helper()
	if err := f.client.Create(t.Context(), o); err != nil {
		t.Fatal(err)
	}
}

func persistentVolume(name, driver, handle string) *corev1.PersistentVolume {
	v := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}}
	v.Spec.CSI = &corev1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: handle}
	return v
}

func claim(name, uid string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(uid)}}
}

func (f *fixture) has(server int, id string) bool {
	return slices.ContainsFunc(f.agents[server].Volumes(), func(v *agentv1.Volume) bool { return v.GetId() == id })
}

func (f *fixture) events(t *testing.T, reason string) []string {
	t.Helper()
	var list corev1.EventList
	if err := f.client.List(t.Context(), &list); err != nil {
		t.Fatal(err)
	}
	var notes []string
	for _, e := range list.Items {
		if e.Reason == reason && e.InvolvedObject.Name == "main" && e.InvolvedObject.UID == "backend-uid" {
			notes = append(notes, e.Message)
		}
	}
	return notes
}

// metric is the sum of all that is counted.
func (f *fixture) metric(t *testing.T) (sum float64) {
	t.Helper()
	families, err := f.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
		}
	}
	return sum
}

// TestAClaimDeletedWhileItsVolumeWasBeingMade is what the sweep is for.
func TestAClaimDeletedWhileItsVolumeWasBeingMade(t *testing.T) {
	f := newFixture(t)
	handle, id := f.volume(t, 1, "lost")
	f.Sweep(t.Context())
	if !f.has(1, id) {
		t.Fatal("a new volume was swept")
	}
	f.agents[1].Age(id, hour)
	f.Sweep(t.Context())
	if f.has(1, id) {
		t.Error("the orphan is still there")
	}
	if notes := f.events(t, ReasonDeleted); len(notes) != 1 || !strings.Contains(notes[0], handle) || !strings.Contains(notes[0], "shop/lost") {
		t.Errorf("events are %q", notes)
	}
	if n := f.metric(t); n != 1 {
		t.Errorf("%v volumes were counted", n)
	}
}

func TestWhatIsLeftAlone(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, f *fixture, handle, id string){
		"its claim exists: a slow or repeated call will find it": func(t *testing.T, f *fixture, _, _ string) {
			t.Helper()
			f.make(t, claim("data", "data-uid"))
		},
		"it has a PersistentVolume of its own name": func(t *testing.T, f *fixture, handle, _ string) {
			t.Helper()
			f.make(t, persistentVolume("pvc-data-uid", names.Driver, handle))
		},
		"it has a PersistentVolume that a person wrote": func(t *testing.T, f *fixture, handle, _ string) {
			t.Helper()
			f.make(t, persistentVolume("by-hand", names.Driver, handle))
		},
		"it was staged": func(t *testing.T, f *fixture, _, id string) {
			t.Helper()
			if _, err := f.agents[0].OpenAccess(t.Context(), &agentv1.OpenAccessRequest{Grant: &agentv1.Grant{VolumeId: id}}); err != nil {
				t.Fatal(err)
			}
		},
		"PersistentVolumes cannot be listed": func(t *testing.T, f *fixture, _, _ string) {
			t.Helper()
			f.failing = errors.New("API server is away")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			handle, id := f.volume(t, 0, "data")
			f.agents[0].Age(id, 100*hour)
			prepare(t, f, handle, id)
			f.Sweep(t.Context())
			if !f.has(0, id) {
				t.Error("it was swept")
			}
			if notes := f.events(t, ReasonDeleted); len(notes) != 0 {
				t.Errorf("events are %q", notes)
			}
		})
	}
}

func TestANewClaimOfTheNameIsAnother(t *testing.T) {
	f := newFixture(t)
	_, id := f.volume(t, 0, "data")
	f.agents[0].Age(id, hour)
	f.make(t, claim("data", "another-uid"))
	f.make(t, persistentVolume("elsewhere", "nfs.csi.k8s.io", "main/0/"+id)) // of another driver
	f.Sweep(t.Context())
	if f.has(0, id) {
		t.Error("the orphan is still there")
	}
}

// TestATwinIsSwept is about a server that was away when its answer was waited for, so that the claim got a volume on another.
func TestATwinIsSwept(t *testing.T) {
	f := newFixture(t)
	_, lost := f.volume(t, 0, "data")
	handle, kept := f.volume(t, 1, "data")
	f.make(t, claim("data", "data-uid"))
	for i, id := range []string{lost, kept} {
		f.agents[i].Age(id, hour)
	}
	f.Sweep(t.Context())
	if !f.has(0, lost) || !f.has(1, kept) {
		t.Fatal("a volume was swept before it was known which one the claim gets")
	}
	f.make(t, persistentVolume("pvc-data-uid", names.Driver, handle))
	f.Sweep(t.Context())
	if f.has(0, lost) || !f.has(1, kept) {
		t.Errorf("the twin is there: %t, the claim's volume is there: %t", f.has(0, lost), f.has(1, kept))
	}
	if notes := f.events(t, ReasonDeleted); len(notes) != 1 || !strings.Contains(notes[0], "got volume "+handle) {
		t.Errorf("events are %q", notes)
	}
}

func TestAVolumeOfWhichNobodyKnowsTheClaimIsLeftAlone(t *testing.T) {
	f := newFixture(t)
	v, err := f.agents[0].CreateVolume(t.Context(), &agentv1.CreateVolumeRequest{Name: "by-hand", Spec: &agentv1.VolumeSpec{Bytes: 1}})
	if err != nil {
		t.Fatal(err)
	}
	f.agents[0].Age(v.GetId(), 100*hour)
	f.Sweep(t.Context())
	if !f.has(0, v.GetId()) {
		t.Error("it was swept")
	}
}

func TestAVolumeStagedWhileItIsSweptStays(t *testing.T) {
	f := newFixture(t)
	_, id := f.volume(t, 0, "data")
	f.agents[0].Age(id, hour)
	f.agents[0].Before(func(method string) error {
		if method == "DeleteVolume" {
			_, err := f.agents[0].OpenAccess(t.Context(), &agentv1.OpenAccessRequest{Grant: &agentv1.Grant{VolumeId: id}})
			return err
		}
		return nil
	})
	f.Sweep(t.Context())
	if !f.has(0, id) {
		t.Error("it was swept")
	}
}

func TestASilentServerHoldsUpNoOther(t *testing.T) {
	f := newFixture(t)
	f.stop[0]()
	_, id := f.volume(t, 1, "lost")
	f.agents[1].Age(id, hour)
	f.Sweep(t.Context())
	if f.has(1, id) {
		t.Error("the orphan is still there")
	}
}

// TestNothingIsReadWhileNothingIsProvisional is the rule that an idle cluster is not asked.
func TestNothingIsReadWhileNothingIsProvisional(t *testing.T) {
	f := newFixture(t)
	for i := range 250 {
		handle, _ := f.volume(t, i%2, fmt.Sprintf("data-%d", i))
		f.make(t, persistentVolume(fmt.Sprintf("pvc-%d", i), names.Driver, handle))
	}
	f.Sweep(t.Context())
	if f.lists == 0 {
		t.Fatal("PersistentVolumes were not listed")
	}
	listed := f.lists
	f.Sweep(t.Context())
	if f.lists != listed {
		t.Error("PersistentVolumes are listed though all volumes are confirmed")
	}
}

func TestReport(t *testing.T) {
	f := newFixture(t)
	handle, id := f.volume(t, 0, "data")
	v := persistentVolume("pvc-data-uid", names.Driver, handle)
	f.make(t, v)
	f.Sweep(t.Context()) // confirms it
	f.Report(t.Context())
	if notes := f.events(t, ReasonUnclaimed); len(notes) != 0 {
		t.Errorf("events are %q", notes)
	}
	if err := f.client.Delete(t.Context(), v); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		f.Sweep(t.Context())
		f.Report(t.Context())
	}
	if notes := f.events(t, ReasonUnclaimed); len(notes) != 1 || !strings.Contains(notes[0], handle) {
		t.Errorf("events are %q", notes)
	}
	if n := f.metric(t); n != 1 || !f.has(0, id) {
		t.Errorf("%v volumes were counted, volume is there: %t", n, f.has(0, id))
	}
}

// TestAChangeOfLeader has two replicas: one sweeps, and when it ends the other does.
func TestAChangeOfLeader(t *testing.T) { synctest.Test(t, changeLeaders) }

func changeLeaders(t *testing.T) {
	clients := kubefake.NewClientset()
	var leader atomic.Value
	start := func(name string) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			done <- Lead(ctx, clients, "ns", name, func(ctx context.Context) { leader.Store(name); <-ctx.Done() })
		}()
		return func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
	}
	endFirst := start("first")
	synctest.Wait()
	endSecond := start("second")
	<-time.After(10 * leaseDuration)
	if leader.Load() != "first" {
		t.Errorf("%v leads", leader.Load())
	}
	endFirst()
	<-time.After(3 * retryPeriod)
	if leader.Load() != "second" {
		t.Errorf("%v leads after the first has ended", leader.Load())
	}
	endSecond()
}
