package catalog

import (
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

func newCatalog(t *testing.T, objects ...client.Object) *Catalog {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	reader := fakeclient.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).Build()
	return New(reader, reader)
}

func profile(backend string) *v1alpha1.StorageProfile {
	return &v1alpha1.StorageProfile{Spec: v1alpha1.StorageProfileSpec{BackendRef: v1alpha1.BackendReference{Name: backend}}}
}

func backend(name string, shards ...v1alpha1.ShardStatus) *v1alpha1.NFSBackend {
	return &v1alpha1.NFSBackend{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Status: v1alpha1.NFSBackendStatus{Shards: shards},
	}
}

func TestServersAreThoseThatTheManagerHasReached(t *testing.T) {
	c := newCatalog(t,
		backend("new", v1alpha1.ShardStatus{Address: "10.0.0.1"}),
		backend("half", v1alpha1.ShardStatus{Shard: 1, Address: "10.0.0.3", ServerID: "b"}, v1alpha1.ShardStatus{Address: "10.0.0.2"}),
	)
	if list, err := c.Servers(t.Context(), profile("new")); !errors.Is(err, ErrNotFound) {
		t.Errorf("a server without an identity is offered: %v, %v", list, err)
	}
	all, err := c.AllServers(t.Context())
	if err != nil || len(all) != 1 || all[0].Shard != (volumeid.Shard{Backend: "half", Number: 1}) {
		t.Errorf("all servers are %v, %v", all, err)
	}
	if _, err := c.Server(t.Context(), volumeid.Shard{Backend: "half"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("the server is found: %v", err)
	}
}

func TestServersOfABackendBeingDeleted(t *testing.T) {
	deleting := backend("old", v1alpha1.ShardStatus{Address: "10.0.0.1", ServerID: "a", Serving: true})
	deleting.DeletionTimestamp, deleting.Finalizers = new(metav1.Now()), []string{"example.org/test"}
	c := newCatalog(t, deleting, backend("main", v1alpha1.ShardStatus{Address: "10.0.0.2", ServerID: "b"}))
	all, err := c.AllServers(t.Context())
	if err != nil || len(all) != 2 || all[0].Deleting || !all[1].Deleting {
		t.Errorf("all servers are %v, %v", all, err)
	}
}

func TestServersOfSeveralBackends(t *testing.T) {
	labelled := func(name, tier string, shards ...v1alpha1.ShardStatus) *v1alpha1.NFSBackend {
		b := backend(name, shards...)
		b.Labels = map[string]string{"tier": tier}
		return b
	}
	c := newCatalog(t,
		labelled("b", "gold", v1alpha1.ShardStatus{Address: "10.0.0.2", ServerID: "b"}),
		labelled("a", "gold", v1alpha1.ShardStatus{Address: "10.0.0.1", ServerID: "a"}),
		labelled("new", "gold"),
		labelled("cheap", "tin", v1alpha1.ShardStatus{Address: "10.0.0.3", ServerID: "c"}),
	)
	selecting := func(tier string) *v1alpha1.StorageProfile {
		p := &v1alpha1.StorageProfile{ObjectMeta: metav1.ObjectMeta{Name: "p"}}
		p.Spec.BackendSelector = &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"tier": v1alpha1.LabelValue(tier)}}
		return p
	}
	list, err := c.Servers(t.Context(), selecting("gold"))
	if err != nil || len(list) != 2 || list[0].Shard.Backend != "a" || list[1].Shard.Backend != "b" {
		t.Errorf("servers are %v, %v", list, err)
	}
	if list, err := c.Servers(t.Context(), selecting("lead")); !errors.Is(err, ErrNotFound) {
		t.Errorf("servers are %v, %v", list, err)
	}
}

func TestAllowedNamespaces(t *testing.T) {
	labelled := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "labelled", Labels: map[string]string{"storage": "yes"}}}
	plain := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "plain"}}
	c := newCatalog(t, labelled, plain)
	byLabel := &v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"storage": "yes"}}
	for name, test := range map[string]struct {
		allowed   *v1alpha1.AllowedNamespaces
		namespace string
		want      bool
	}{
		"everybody":        {nil, "plain", true},
		"named":            {&v1alpha1.AllowedNamespaces{Names: []string{"plain"}}, "plain", true},
		"not named":        {&v1alpha1.AllowedNamespaces{Names: []string{"plain"}}, "labelled", false},
		"selected":         {&v1alpha1.AllowedNamespaces{Selector: byLabel}, "labelled", true},
		"not selected":     {&v1alpha1.AllowedNamespaces{Selector: byLabel}, "plain", false},
		"named or selects": {&v1alpha1.AllowedNamespaces{Names: []string{"plain"}, Selector: byLabel}, "labelled", true},
		"nobody knows":     {&v1alpha1.AllowedNamespaces{Selector: byLabel}, "", false},
	} {
		p := profile("b")
		p.Spec.AllowedNamespaces = test.allowed
		if got, err := c.NamespaceAllowed(t.Context(), p, test.namespace); err != nil || got != test.want {
			t.Errorf("%s: %t, %v", name, got, err)
		}
	}
	p := profile("b")
	p.Spec.AllowedNamespaces = &v1alpha1.AllowedNamespaces{Selector: byLabel}
	if _, err := c.NamespaceAllowed(t.Context(), p, "gone"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a namespace that is gone: %v", err)
	}
}

func TestExport(t *testing.T) {
	b := backend("main")
	b.Spec.Server = &v1alpha1.ManagedServer{Exports: []v1alpha1.StaticExport{{Name: "shared", Shard: 1}}}
	c := newCatalog(t, b, backend("other"))
	for shard, want := range map[volumeid.Shard]bool{{Backend: "main", Number: 1}: true, {Backend: "main"}: false, {Backend: "other", Number: 1}: false} {
		if e, err := c.Export(t.Context(), shard, "shared"); err != nil || (e != nil) != want {
			t.Errorf("%v: %v, %v", shard, e, err)
		}
	}
	if _, err := c.Export(t.Context(), volumeid.Shard{Backend: "gone"}, "shared"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a backend that is gone: %v", err)
	}
}
