//go:build bench

// Package cluster measures the whole product on a cluster. See ../README.md.
package cluster

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// namespace is one measurement's own; its methods end the test when kubectl fails.
type namespace struct {
	story.Kubectl
	t *testing.T
}

// newNamespace installs the operator and config/samples where they are not, and makes a namespace, which is deleted at the end.
func newNamespace(t *testing.T, name string) namespace {
	t.Helper()
	kubeconfig, kubectl := os.Getenv("E2E_KUBECONFIG"), os.Getenv("E2E_KUBECTL")
	if kubeconfig == "" || kubectl == "" {
		t.Fatal("E2E_KUBECONFIG and E2E_KUBECTL name the cluster: run `hack/bench cluster`")
	}
	k := story.Kubectl{Program: kubectl, Kubeconfig: kubeconfig, Namespace: name}
	if err := (&story.Story{Kubectl: k, Repository: "../../.."}).SetUp(t.Context()); err != nil {
		t.Fatalf("%v\n%s", err, k.Diagnose())
	}
	n := namespace{k, t}
	n.do("delete", "namespace", name, "--ignore-not-found", "--timeout=50m")
	n.do("create", "namespace", name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Hour) // a thousand volumes
		defer cancel()
		if t.Failed() {
			t.Log(k.Diagnose())
		}
		if _, err := k.Run(ctx, "delete", "namespace", name, "--timeout=50m"); err != nil {
			t.Error(err)
		}
	})
	return n
}

func (n namespace) do(args ...string) string {
	n.t.Helper()
	out, err := n.Run(n.t.Context(), args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

func (n namespace) apply(manifest string) {
	n.t.Helper()
	if _, err := n.RunInput(n.t.Context(), manifest, "apply", "--server-side", "-f", "-"); err != nil {
		n.t.Fatal(err)
	}
}

func claim(name string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: %s}
spec:
  storageClassName: %s
  accessModes: [ReadWriteMany]
  resources: {requests: {storage: 64Mi}}
---
`, name, story.Class)
}

// pod has one volume at /data, on a node if one is named.
func pod(name, source, node, script string) string {
	selector := "{}"
	if node != "" {
		selector = "{kubernetes.io/hostname: " + node + "}"
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  terminationGracePeriodSeconds: 0
  nodeSelector: %s
  containers:
  - name: shell
    image: %s
    imagePullPolicy: IfNotPresent
    command: [sh, -c, %q]
    volumeMounts: [{name: data, mountPath: /data}]
  volumes:
  - name: data
    %s
`, name, selector, story.TestImage, script, strings.TrimSpace(source))
}

// client is for what kubectl is too slow to see.
type client struct {
	namespace
	api kubernetes.Interface
}

func (n namespace) client() client {
	n.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", n.Kubeconfig)
	if err != nil {
		n.t.Fatal(err)
	}
	config.QPS = -1 // the limit is to be that of others
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		n.t.Fatal(err)
	}
	return client{n, api}
}

// startTime creates a pod and returns how long it took until a watch said that it is Ready.
func (c client) startTime(manifest string) time.Duration {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute)
	defer cancel()
	var p corev1.Pod
	if err := yaml.Unmarshal([]byte(manifest), &p); err != nil {
		c.t.Fatal(err)
	}
	pods := c.api.CoreV1().Pods(c.Namespace)
	watch, err := pods.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + p.Name})
	if err != nil {
		c.t.Fatal(err)
	}
	defer watch.Stop()
	begin := time.Now()
	if _, err := pods.Create(ctx, &p, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
	for event := range watch.ResultChan() {
		seen, ok := event.Object.(*corev1.Pod)
		if !ok {
			continue
		}
		for _, condition := range seen.Status.Conditions {
			if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
				return time.Since(begin)
			}
		}
	}
	c.t.Fatalf("pod %s is not Ready within 5 minutes\n%s", p.Name, c.Diagnose())
	return 0
}
