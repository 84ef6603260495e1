package catalog

import (
	"errors"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fakeclient "sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

func newCatalog(t *testing.T, backends ...*v1alpha1.NFSBackend) *Catalog {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	builder := fakeclient.NewClientBuilder().WithScheme(scheme)
	for _, b := range backends {
		builder = builder.WithObjects(b)
	}
	return New(builder.Build())
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
	if list, err := c.Servers(t.Context(), "new"); !errors.Is(err, ErrNotFound) {
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
