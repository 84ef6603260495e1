//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/yaml"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// tier is the label that admits a namespace in these tests.
const tier = "example.org/tier"

func asText(t *testing.T, object any) string {
	t.Helper()
	text, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// tried creates nothing: it waits until the API server would admit a claim, or would refuse it, and returns why. It has
// seen a namespace's labels and a policy only some moments after they were written.
func (e *env) tried(claim string, admitted bool) string {
	e.t.Helper()
	const patience = time.Minute
	for begin := time.Now(); ; time.Sleep(time.Second) {
		_, err := e.RunInput(e.t.Context(), claim, "create", "--dry-run=server", "-f", "-")
		switch {
		case admitted && err == nil:
			return ""
		case !admitted && err != nil:
			return err.Error()
		case time.Since(begin) > patience:
			e.t.Fatalf("admitted: want %v, got %v", admitted, err)
		}
	}
}

// TestTenant: a namespace is refused, admitted by a label, and keeps what it has when the label goes.
func TestTenant(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("gold", func(s *v1alpha1.StorageProfileSpec) {
		s.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Selector: &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{tier: "gold"}}}
		s.MaxVolumeSize = new(resource.MustParse("96Mi"))
	})
	policy := "validatingadmissionpolicy/nfs-operator-profile-" + class
	e.await("the API server has checked the policy's types", func(got string) bool { return got != "" },
		"get", policy, "-o", "jsonpath={.status.observedGeneration}")
	if warnings := e.get(policy, "{.status.typeChecking.expressionWarnings}"); warnings != "" {
		t.Errorf("the API server warns of the policy: %s", warnings)
	}

	claim := asText(t, newClaim("data", ofClass(class)))
	message := e.tried(claim, false)
	for _, part := range []string{"StorageProfile " + class + ": allowedNamespaces: namespace " + e.Namespace + " may not use it", tier + "=gold"} {
		if !strings.Contains(message, part) {
			t.Errorf("the refusal does not say %q: %s", part, message)
		}
	}
	e.do("label", "namespace", e.Namespace, tier+"=gold")
	e.tried(claim, true)
	e.create(newClaim("data", ofClass(class)), newPod("writer", "data"))
	e.ready("writer")
	e.shell("writer", "echo kept > /data/file; sync")

	e.do("label", "namespace", e.Namespace, tier+"-")
	e.tried(asText(t, newClaim("second", ofClass(class))), false)
	e.do("patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"96Mi"}}}}`)
	e.await("the claim has grown", func(got string) bool { return got == "96Mi" }, "get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}")
	message = e.refused("", "patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"97Mi"}}}}`)
	if !strings.Contains(message, "maxVolumeSize: 97Mi is more than 96Mi") {
		t.Errorf("the refusal names no rule: %s", message)
	}
	if got := e.shell("writer", "cat /data/file"); got != "kept" {
		t.Errorf("the pod reads %q", got)
	}
}

// TestQuotaOfAClass: what all claims of a namespace together may have is a ResourceQuota, as docs/tenants.md says.
func TestQuotaOfAClass(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("silver")
	quota := &corev1.ResourceQuota{}
	quota.APIVersion, quota.Kind, quota.Name = "v1", "ResourceQuota", "silver"
	limited := corev1.ResourceName(class + ".storageclass.storage.k8s.io/requests.storage")
	quota.Spec.Hard = corev1.ResourceList{limited: resource.MustParse("100Mi")}
	e.create(quota)
	e.await("the quota is counted", func(got string) bool { return strings.Contains(got, string(limited)) },
		"get", "resourcequota", "silver", "-o", "jsonpath={.status.used}")
	e.create(newClaim("first", ofClass(class)))
	e.bound("first")
	message := e.refused(asText(t, newClaim("second", ofClass(class))), "create", "-f", "-")
	if !strings.Contains(message, "exceeded quota") {
		t.Errorf("the refusal does not name the quota: %s", message)
	}
	e.create(newClaim("other")) // of another class
	e.bound("other")
}

// TestProfileDeletedUnderItsVolumes: the volume lives on and can be deleted; the profile applied again lets it grow.
func TestProfileDeletedUnderItsVolumes(t *testing.T) {
	t.Parallel()
	e := newEnv(t)
	class := e.profile("passing")
	e.create(newClaim("data", ofClass(class)), newClaim("dropped", ofClass(class)), newPod("writer", "data"))
	e.ready("writer")
	dropped := e.bound("dropped")
	e.do("delete", "storageprofile", class, "--timeout=300s")
	e.await("the class is gone with it", func(got string) bool { return got == "" }, "get", "storageclass", class, "--ignore-not-found", "-o", "name")
	e.shell("writer", "echo still > /data/file; sync")
	e.do("delete", "pvc", "dropped", "--timeout=300s")
	e.await("its volume is deleted without the profile", func(got string) bool { return got == "" },
		"get", "persistentvolume", dropped, "--ignore-not-found", "-o", "name")

	if again := e.profile("passing"); again != class {
		t.Fatalf("another class, %s", again)
	}
	e.do("patch", "pvc", "data", "--type=merge", "-p", `{"spec":{"resources":{"requests":{"storage":"80Mi"}}}}`)
	e.await("the claim has grown", func(got string) bool { return got == "80Mi" }, "get", "pvc", "data", "-o", "jsonpath={.status.capacity.storage}")
	if got := e.shell("writer", "cat /data/file"); got != "still" {
		t.Errorf("the pod reads %q", got)
	}
}
