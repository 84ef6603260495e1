//go:build envtest

package controllers

import (
	"context"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/go-logr/logr"
	. "github.com/onsi/gomega"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// startManager runs all reconcilers with the caches and the rights that they have in a cluster.
func startManager(t *testing.T, c client.Client) *testenv.Requests {
	t.Helper()
	for _, file := range []string{"role.yaml", "manager.yaml"} {
		for _, obj := range testenv.ReadObjects(t, "config", "rbac", file) {
			if err := c.Create(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
		}
	}
	ctrl.SetLogger(logr.Discard())
	config := testenv.Config()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + testenv.Namespace + ":manager",
		Groups:   []string{"system:serviceaccounts", "system:authenticated"},
	}
	LimitRequests(config)
	requests := testenv.Record(config)
	mgr, err := ctrl.NewManager(config, ctrl.Options{
		Scheme: Scheme(), Cache: CacheOptions(testenv.Namespace), Client: ClientOptions(), Metrics: metricsserver.Options{BindAddress: "0"},
		LeaderElection: true, LeaderElectionID: "nfs-operator-manager", LeaderElectionNamespace: testenv.Namespace,
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := SetupWithManager(ctx, mgr, testenv.Namespace); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(30 * time.Second): // a manager whose caches never came never ends
			t.Error("the manager does not end: does the service account lack a right to watch?")
		}
	})
	return requests
}

// TestManager proves the watches and the rights: each object comes without a request for it, and comes back when it is
// taken away.
func TestManager(t *testing.T) {
	g := NewWithT(t)
	g.SetDefaultEventuallyTimeout(patience)
	c := testenv.Client(t)
	for _, variable := range relatedImages {
		t.Setenv(variable, imageOf(variable))
	}
	requests := startManager(t, c)
	class := "local-block"
	backend := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: "shared"},
		Spec: v1alpha1.NFSBackendSpec{Server: &v1alpha1.ManagedServer{Storage: v1alpha1.ServerStorage{
			VolumeClaimTemplate: v1alpha1.VolumeClaimTemplate{StorageClassName: &class, Size: resource.MustParse("10Gi")},
		}}},
	}
	profile := &v1alpha1.StorageProfile{
		ObjectMeta: metav1.ObjectMeta{Name: "shared-rwx"},
		Spec: v1alpha1.StorageProfileSpec{
			BackendRef: v1alpha1.BackendReference{Name: "shared"}, MaxVolumeSize: new(resource.MustParse("5Gi")),
		},
	}
	g.Expect(c.Create(t.Context(), profile)).To(Succeed())
	external := &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: "nas"},
		Spec:       v1alpha1.NFSBackendSpec{External: &v1alpha1.ExternalServer{Server: "nas.example.org", Path: "/export"}},
	}
	g.Expect(c.Create(t.Context(), backend)).To(Succeed())
	g.Expect(c.Create(t.Context(), external)).To(Succeed())

	shard := client.ObjectKey{Namespace: testenv.Namespace, Name: names.Shard("shared", 0)}
	own := func(name string) client.ObjectKey { return client.ObjectKey{Namespace: testenv.Namespace, Name: name} }
	operands := map[client.Object]client.ObjectKey{
		&appsv1.StatefulSet{}: shard, &corev1.Service{}: shard, &corev1.ConfigMap{}: shard, &corev1.Secret{}: shard,
		&appsv1.Deployment{}: own(names.ComponentController), &appsv1.DaemonSet{}: own(names.ComponentNode),
		&appsv1.Deployment{}:      own(names.Shard("nas", 0)),
		&storagev1.StorageClass{}: {Name: "shared-rwx"}, &storagev1.CSIDriver{}: {Name: names.Driver},
		&admissionv1.ValidatingAdmissionPolicy{}:        {Name: "nfs-operator-profile-shared-rwx"},
		&admissionv1.ValidatingAdmissionPolicyBinding{}: {Name: "nfs-operator-profile-shared-rwx"},
	}
	for obj, key := range operands {
		g.Eventually(func() error { return c.Get(t.Context(), key, obj) }).Should(Succeed(), "%T", obj)
		uid := obj.GetUID()
		g.Expect(c.Delete(t.Context(), obj)).To(Succeed())
		g.Eventually(func(g Gomega) {
			g.Expect(c.Get(t.Context(), key, obj)).To(Succeed())
			g.Expect(obj.GetUID()).NotTo(Equal(uid))
		}).Should(Succeed(), "%T comes back", obj)
	}
	g.Eventually(func(g Gomega) {
		g.Expect(c.Get(t.Context(), client.ObjectKeyFromObject(profile), profile)).To(Succeed())
		ready := apimeta.FindStatusCondition(profile.Status.Conditions, v1alpha1.ConditionReady)
		g.Expect(ready).NotTo(BeNil())
		g.Expect(ready.Reason).To(Equal("BackendNotReady"))
	}).Should(Succeed())

	expectSnapshots(t, c, profile)
	expectRelatedImages(t, c)
	expectSilence(t, c, requests)
	driver := &v1alpha1.NFSDriver{ObjectMeta: metav1.ObjectMeta{Name: install.DriverName}}
	for _, obj := range []client.Object{backend, external, profile, driver} {
		testenv.CheckKStatus(t, c, obj)
		g.Expect(testenv.KStatus(t, obj)).To(Equal(status.InProgressStatus), "%T: there is no kubelet", obj)
	}
	expectRecreation(t, c, profile)
	askForCertificate(t)
	g.Expect(c.Delete(t.Context(), external)).To(Succeed())
	g.Expect(c.Delete(t.Context(), backend)).To(Succeed())
	g.Eventually(func() bool {
		err := c.Get(t.Context(), shard, &appsv1.StatefulSet{})
		return client.IgnoreNotFound(err) == nil && err != nil
	}).Should(BeTrue())
	g.Eventually(func() bool {
		err := c.Get(t.Context(), own(names.ComponentNode), &appsv1.DaemonSet{})
		return client.IgnoreNotFound(err) == nil && err != nil
	}).Should(BeTrue(), "nothing needs the driver any more")
	g.Eventually(func() bool {
		err := c.Get(t.Context(), client.ObjectKey{Name: names.Driver}, &storagev1.CSIDriver{})
		return client.IgnoreNotFound(err) == nil && err != nil
	}).Should(BeTrue(), "which goes last")
	expectRights(t, requests)
}

// relatedImages are what OLM and disconnected clusters set.
var relatedImages = []string{
	"RELATED_IMAGE_NFS_OPERATOR", "RELATED_IMAGE_NFS_SERVER", "RELATED_IMAGE_CSI_PROVISIONER", "RELATED_IMAGE_CSI_RESIZER", "RELATED_IMAGE_CSI_SNAPSHOTTER",
}

// imageOf is an image for a variable, in a registry of a cluster that has no other.
func imageOf(variable string) string {
	return "registry.local/" + strings.ToLower(strings.TrimPrefix(variable, "RELATED_IMAGE_")) + ":v9"
}

// expectRelatedImages: no pod of ours has an image that nobody has set.
func expectRelatedImages(t *testing.T, c client.Client) {
	t.Helper()
	g := NewWithT(t)
	controller, node := &appsv1.Deployment{}, &appsv1.DaemonSet{}
	server, external := &appsv1.StatefulSet{}, &appsv1.Deployment{}
	got := map[string]bool{}
	for obj, name := range map[client.Object]string{
		controller: names.ComponentController, node: names.ComponentNode, server: names.Shard("shared", 0), external: names.Shard("nas", 0),
	} {
		g.Expect(c.Get(t.Context(), client.ObjectKey{Namespace: testenv.Namespace, Name: name}, obj)).To(Succeed())
	}
	for _, pod := range []corev1.PodSpec{
		controller.Spec.Template.Spec, node.Spec.Template.Spec, server.Spec.Template.Spec, external.Spec.Template.Spec,
	} {
		for _, container := range append(pod.InitContainers, pod.Containers...) {
			got[container.Image] = true
		}
	}
	want := map[string]bool{}
	for _, variable := range relatedImages {
		want[imageOf(variable)] = true
	}
	g.Expect(got).To(Equal(want))
}

// expectSilence: when nobody changes anything, no object of ours gets a new version.
func expectSilence(t *testing.T, c client.Client, requests *testenv.Requests) {
	t.Helper()
	g := NewWithT(t)
	versions := func() map[string]string {
		found := map[string]string{}
		for _, list := range []client.ObjectList{
			&v1alpha1.NFSBackendList{}, &v1alpha1.StorageProfileList{}, &v1alpha1.NFSDriverList{},
			&appsv1.StatefulSetList{}, &appsv1.DeploymentList{}, &appsv1.DaemonSetList{}, &corev1.ServiceList{},
			&corev1.SecretList{}, &corev1.ConfigMapList{}, &corev1.PersistentVolumeClaimList{}, &storagev1.StorageClassList{},
		} {
			g.Expect(c.List(t.Context(), list)).To(Succeed())
			items, err := apimeta.ExtractList(list)
			g.Expect(err).NotTo(HaveOccurred())
			for _, item := range items {
				object, err := apimeta.Accessor(item)
				g.Expect(err).NotTo(HaveOccurred())
				found[string(object.GetUID())+" "+object.GetName()] = object.GetResourceVersion()
			}
		}
		return found
	}
	before := versions()
	g.Eventually(func() bool { // the last events of what was just made
		last := before
		before = versions()
		return maps.Equal(last, before)
	}).WithTimeout(20 * time.Second).WithPolling(3 * time.Second).MustPassRepeatedly(2).Should(BeTrue())
	// More than two rounds of a backend that waits.
	requests.Writes()
	g.Consistently(versions).WithTimeout(12 * time.Second).WithPolling(time.Second).Should(Equal(before))
	g.Expect(requests.Writes()).To(BeEmpty(), "nothing is written when nothing changes, not even in vain")
}
