//go:build e2e

package e2e

import (
	"context"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/story"
)

const systemNamespace = names.DefaultNamespace

// serverPod serves shard 0 of the backend of config/samples.
var serverPod = names.Shard(story.Backend, 0) + "-0"

// cleanUpContext is for what runs after a test, whose own context is done by then.
func cleanUpContext() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 25*time.Minute)
}

// newClaim asks for 64Mi, ReadWriteMany, of the class of config/samples; changes may say otherwise.
func newClaim(name string, changes ...func(*corev1.PersistentVolumeClaimSpec)) *corev1.PersistentVolumeClaim {
	class := story.Class
	claim := &corev1.PersistentVolumeClaim{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "PersistentVolumeClaim"},
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			StorageClassName: &class,
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:        storage("64Mi"),
		},
	}
	for _, change := range changes {
		change(&claim.Spec)
	}
	return claim
}

func storage(size string) corev1.VolumeResourceRequirements {
	return corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceStorage: resource.MustParse(size)}}
}

func ofClass(class string) func(*corev1.PersistentVolumeClaimSpec) {
	return func(s *corev1.PersistentVolumeClaimSpec) { s.StorageClassName = &class }
}

func ofSize(size string) func(*corev1.PersistentVolumeClaimSpec) {
	return func(s *corev1.PersistentVolumeClaimSpec) { s.Resources = storage(size) }
}

func withMode(mode corev1.PersistentVolumeAccessMode) func(*corev1.PersistentVolumeClaimSpec) {
	return func(s *corev1.PersistentVolumeClaimSpec) {
		s.AccessModes = []corev1.PersistentVolumeAccessMode{mode}
	}
}

// newPod waits, with a claim mounted at /data; changes may say otherwise. An empty claim is none.
func newPod(name, claim string, changes ...func(*corev1.PodSpec)) *corev1.Pod {
	grace := int64(1)
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "shell", Image: story.TestImage, ImagePullPolicy: corev1.PullIfNotPresent,
				Command: []string{"sleep", "infinity"},
			}},
		},
	}
	if claim != "" {
		withVolume("/data", corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim}})(&pod.Spec)
	}
	for _, change := range changes {
		change(&pod.Spec)
	}
	return pod
}

// withVolume mounts a volume in the first container; its name is made of the path.
func withVolume(path string, source corev1.VolumeSource) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) {
		name := strings.ReplaceAll(strings.Trim(path, "/"), "/", "-")
		s.Volumes = append(s.Volumes, corev1.Volume{Name: name, VolumeSource: source})
		s.Containers[0].VolumeMounts = append(s.Containers[0].VolumeMounts, corev1.VolumeMount{Name: name, MountPath: path})
	}
}

// on binds a pod to a node by its label: unlike nodeName, the scheduler takes part.
func on(node string) func(*corev1.PodSpec) {
	return func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{corev1.LabelHostname: node} }
}

// profile makes a StorageProfile of this test's own on the backend of config/samples, and deletes it at the end. It
// returns the name of its StorageClass.
func (e *env) profile(suffix string, changes ...func(*v1alpha1.StorageProfileSpec)) string {
	e.t.Helper()
	p := &v1alpha1.StorageProfile{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "StorageProfile"},
		ObjectMeta: metav1.ObjectMeta{Name: e.name(suffix)},
		Spec:       v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: story.Backend}},
	}
	for _, change := range changes {
		change(&p.Spec)
	}
	e.create(p)
	e.atEnd("delete", "storageprofile", p.Name, "--ignore-not-found", "--timeout=600s")
	e.do("wait", "--for=condition=Ready", "--timeout=600s", "storageprofile/"+p.Name)
	return p.Name
}

// atEnd runs kubectl when the test has ended, before the namespace is deleted.
func (e *env) atEnd(args ...string) {
	e.t.Cleanup(func() {
		ctx, cancel := cleanUpContext()
		defer cancel()
		if _, err := e.Run(ctx, args...); err != nil {
			e.t.Errorf("clean up: %v", err)
		}
	})
}

// nodes are the names of the cluster's nodes, of which there are at least two.
func (e *env) nodes() []string {
	e.t.Helper()
	nodes := strings.Fields(e.do("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
	if len(nodes) < 2 {
		e.t.Fatalf("the cluster has the nodes %v, want two", nodes)
	}
	return nodes
}
