//go:build envtest

package validation

import (
	"context"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/controllers/internal/testenv"
)

func allowed(t *testing.T, c client.Client, account, group, resource, verb string) bool {
	t.Helper()
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User:               "system:serviceaccount:" + testenv.Namespace + ":" + account,
		Groups:             []string{"system:serviceaccounts", "system:serviceaccounts:" + testenv.Namespace, "system:authenticated"},
		ResourceAttributes: &authorizationv1.ResourceAttributes{Group: group, Resource: resource, Verb: verb},
	}}
	if err := c.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

// What csi/README.md says that the two commands of the driver need, and some of what they must not have.
func TestRightsOfTheDriver(t *testing.T) {
	c := testenv.Client(t)
	for _, file := range []string{"csi_node.yaml", "csi_controller.yaml"} {
		for _, obj := range testenv.ReadObjects(t, "config", "rbac", file) {
			if err := c.Create(t.Context(), obj); err != nil {
				t.Fatal(err)
			}
		}
	}
	const ours, certificates = "storage.nfs-operator.io", "certificates.k8s.io"
	// The authorizer has read the objects.
	testenv.Await(t, func() bool { return allowed(t, c, "csi-node", "", "nodes", "get") })
	testenv.Await(t, func() bool { return allowed(t, c, "csi-controller", ours, "nfsbackends", "get") })
	for _, test := range []struct {
		account, group, resource string
		may, mayNot              []string
	}{
		{"csi-node", certificates, "certificatesigningrequests", []string{"create", "get"}, []string{"list", "watch", "update", "patch", "delete"}},
		{"csi-node", "", "nodes", []string{"get"}, []string{"list", "watch", "patch"}},
		{"csi-node", "", "secrets", nil, []string{"get", "list"}},
		{"csi-node", ours, "nfsbackends", []string{"get"}, []string{"list", "watch", "patch"}},
		{"csi-controller", ours, "nfsbackends", []string{"get", "list", "watch"}, []string{"update", "patch", "delete"}},
		{"csi-controller", ours, "storageprofiles", []string{"get", "list", "watch"}, []string{"update", "patch", "delete"}},
		{"csi-controller", "", "namespaces", []string{"get"}, []string{"list", "watch", "patch"}},
		{"csi-controller", "", "persistentvolumes", []string{"list"}, nil},
		{"csi-controller", "", "persistentvolumeclaims", []string{"get"}, []string{"create", "delete"}},
		{"csi-controller", "", "events", []string{"create"}, []string{"delete"}},
		{"csi-controller", "", "secrets", nil, []string{"get", "list"}},
		{"csi-controller", certificates, "certificatesigningrequests", nil, []string{"create", "get"}},
	} {
		for _, verb := range test.may {
			if !allowed(t, c, test.account, test.group, test.resource, verb) {
				t.Errorf("%s may not %s %s", test.account, verb, test.resource)
			}
		}
		for _, verb := range test.mayNot {
			if allowed(t, c, test.account, test.group, test.resource, verb) {
				t.Errorf("%s may %s %s", test.account, verb, test.resource)
			}
		}
	}
}

// TestSecurityContextConstraints: on OpenShift each service account may use the one that its pods need, in our namespace.
func TestSecurityContextConstraints(t *testing.T) {
	c := testenv.Client(t)
	for _, obj := range testenv.ReadObjects(t, "config", "rbac", "openshift.yaml") {
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	may := func(account, name, namespace string) bool {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "system:serviceaccount:" + testenv.Namespace + ":" + account,
			ResourceAttributes: &authorizationv1.ResourceAttributes{
				Group: "security.openshift.io", Resource: "securitycontextconstraints", Verb: "use", Name: name, Namespace: namespace,
			},
		}}
		if err := c.Create(context.WithoutCancel(t.Context()), review); err != nil {
			t.Fatal(err)
		}
		return review.Status.Allowed
	}
	testenv.Await(t, func() bool {
		return may("csi-node", "privileged", testenv.Namespace) && may("nfs-server", "privileged", testenv.Namespace) &&
			may("manager", "nonroot-v2", testenv.Namespace) && may("csi-controller", "nonroot-v2", testenv.Namespace)
	})
	for _, account := range []string{"manager", "csi-controller"} {
		if may(account, "privileged", testenv.Namespace) {
			t.Errorf("%s may run privileged pods", account)
		}
	}
	if may("csi-node", "privileged", "default") {
		t.Error("csi-node may run privileged pods elsewhere")
	}
}
