//go:build envtest

// Package testenv runs the tests of the reconcilers against a real API server, with our CRDs and admission policies.
// The tests call Reconcile themselves: there is no manager, and no other controller.
package testenv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
)

// Namespace is where the operator under test is installed.
const Namespace = "nfs-operator-system"

var config *rest.Config

// Main runs the tests of a package with one API server: func TestMain(m *testing.M) { testenv.Main(m) }.
func Main(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if os.Getenv("KUBEBUILDER_ASSETS") == "" {
		fmt.Fprintln(os.Stderr, "These tests need kube-apiserver and etcd in the directory KUBEBUILDER_ASSETS; `make test` builds them and sets it.")
		return 1
	}
	environment := &envtest.Environment{
		CRDDirectoryPaths:     []string{Path("config", "crd", "bases")},
		ErrorIfCRDPathMissing: true,
		// The default of 20 seconds is too short for a machine that does something else as well.
		ControlPlaneStartTimeout: 2 * time.Minute,
		ControlPlaneStopTimeout:  time.Minute,
	}
	log.SetLogger(logr.Discard())
	var err error
	if config, err = environment.Start(); err != nil {
		fmt.Fprintln(os.Stderr, "Cannot start the API server:", err)
		return 1
	}
	defer func() {
		if err := environment.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "Cannot stop the API server:", err)
		}
	}()
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "Cannot prepare the API server:", err)
		return 1
	}
	return m.Run()
}

// Path is a path below the repository's root.
func Path(elements ...string) string {
	_, file, _, _ := runtime.Caller(0)
	root := filepath.Join(filepath.Dir(file), "..", "..", "..")
	return filepath.Join(append([]string{root}, elements...)...)
}

// ReadObjects reads the objects of one file below the repository's root.
func ReadObjects(t *testing.T, elements ...string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(Path(elements...))
	if err != nil {
		t.Fatal(err)
	}
	var objects []*unstructured.Unstructured
	for document := range strings.SplitSeq(string(text), "\n---\n") {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &obj.Object); err != nil {
			t.Fatalf("%s: %v", Path(elements...), err)
		}
		objects = append(objects, obj)
	}
	return objects
}

func prepare() error {
	c, err := client.New(config, client.Options{Scheme: Scheme()})
	if err != nil {
		return err
	}
	return c.Create(context.Background(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Namespace}})
}

// Scheme knows Kubernetes' kinds and ours.
func Scheme() *apiruntime.Scheme {
	scheme := apiruntime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}

// Config is the API server's address and an administrator's credentials.
func Config() *rest.Config { return rest.CopyConfig(config) }

// Client is an administrator's client.
func Client(t *testing.T) client.WithWatch {
	t.Helper()
	c, err := client.NewWithWatch(config, client.Options{Scheme: Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Counter counts the requests that write.
type Counter struct{ writes atomic.Int64 }

// Writes since the last call.
func (c *Counter) Writes() int64 { return c.writes.Swap(0) }

// CountingClient counts the writes of the code under test.
func CountingClient(t *testing.T) (client.WithWatch, *Counter) {
	t.Helper()
	counter := &Counter{}
	count := func() { counter.writes.Add(1) }
	return interceptor.NewClient(Client(t), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			count()
			return c.Create(ctx, obj, opts...)
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			count()
			return c.Update(ctx, obj, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			count()
			return c.Delete(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			count()
			return c.Patch(ctx, obj, patch, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj apiruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			count()
			return c.Apply(ctx, obj, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			count()
			return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			count()
			return c.SubResource(sub).Update(ctx, obj, opts...)
		},
	}), counter
}

// Settle reconciles one object until a pass writes nothing, as a work queue would.
func Settle(t *testing.T, r reconcile.Reconciler, counter *Counter, name string) (reconcile.Result, error) {
	t.Helper()
	request := reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}
	counter.Writes()
	var last error
	for range 10 {
		result, err := r.Reconcile(t.Context(), request)
		if counter.Writes() == 0 {
			return result, err
		}
		last = err
	}
	t.Fatalf("%T writes in every pass over %s: it never comes to rest; last error: %v", r, name, last)
	return reconcile.Result{}, nil
}

// ClaimDriver makes NFSDriver/default and claims it for an installation.
func ClaimDriver(t *testing.T, namespace string) {
	t.Helper()
	c := Client(t)
	driver := &v1alpha1.NFSDriver{ObjectMeta: metav1.ObjectMeta{Name: install.DriverName}}
	if err := c.Create(t.Context(), driver); err != nil {
		t.Fatal(err)
	}
	driver.Status.InstallNamespace = namespace
	if err := c.Status().Update(t.Context(), driver); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(c.Delete(context.Background(), driver)); err != nil {
			t.Error(err)
		}
	})
}

// ReleaseDriver undoes ClaimDriver before the test is over.
func ReleaseDriver(t *testing.T) {
	t.Helper()
	driver := &v1alpha1.NFSDriver{ObjectMeta: metav1.ObjectMeta{Name: install.DriverName}}
	if err := Client(t).Delete(t.Context(), driver); err != nil {
		t.Fatal(err)
	}
}

// Await waits until a condition holds. It does so in a cleanup, too.
func Await(t *testing.T, holds func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(context.WithoutCancel(t.Context()), 100*time.Millisecond, time.Minute, true,
		func(context.Context) (bool, error) { return holds(), nil })
	if err != nil {
		t.Fatal("what is awaited never came")
	}
}

// InstallPolicies applies config/admission for the time of a test, and returns when it is in force.
func InstallPolicies(t *testing.T) {
	t.Helper()
	c := Client(t)
	guarded := map[string]string{"app.kubernetes.io/managed-by": "nfs-operator", "storage.nfs-operator.io/in-use": "true"}
	probe := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "policy-probe", Namespace: Namespace, Labels: guarded},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 2049}}},
	}
	if err := c.Create(t.Context(), probe); err != nil {
		t.Fatal(err)
	}
	awaitRefusal := func(refused bool) {
		t.Helper()
		Await(t, func() bool {
			err := c.Delete(context.Background(), probe, client.DryRunAll)
			return (err != nil) == refused
		})
	}
	objects := ReadObjects(t, "config", "admission", "delete_guard.yaml")
	t.Cleanup(func() {
		for _, obj := range objects {
			if err := client.IgnoreNotFound(c.Delete(context.Background(), obj)); err != nil {
				t.Error(err)
			}
		}
		awaitRefusal(false)
		if err := c.Delete(context.Background(), probe); err != nil {
			t.Error(err)
		}
	})
	for _, obj := range objects {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	awaitRefusal(true)
}

// Recorder keeps the events' texts. A test that does not read them is not held up by them.
func Recorder() *events.FakeRecorder { return events.NewFakeRecorder(1000) }

// Events are those since the last call, as "Normal Reason message".
func Events(r events.EventRecorder) (all []string) {
	for {
		select {
		case event := <-r.(*events.FakeRecorder).Events:
			all = append(all, event)
		default:
			return all
		}
	}
}
