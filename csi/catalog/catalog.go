// Package catalog is what the CSI controller reads of the cluster's custom resources.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

// ErrNotFound is returned for what does not exist, or has not been seen yet.
var ErrNotFound = errors.New("not found")

// Server is one server of a backend.
type Server struct {
	Shard   volumeid.Shard
	Address string // its Service's IP address
	Serving bool   // as of the last look of the manager
	// Deleting is whether the backend is being deleted: nothing new may be made there.
	Deleting bool
}

// Catalog reads through a client, which should be a cache. What is seldom needed and too much to keep is read from the
// API server itself.
type Catalog struct {
	reader client.Reader
	live   client.Reader
}

// New makes a Catalog of a cache of NFSBackends and StorageProfiles, and a client for the metadata of Namespaces.
func New(cached, live client.Reader) *Catalog { return &Catalog{reader: cached, live: live} }

// Profile finds a StorageProfile.
func (c *Catalog) Profile(ctx context.Context, name string) (*v1alpha1.StorageProfile, error) {
	profile := &v1alpha1.StorageProfile{}
	if err := c.reader.Get(ctx, types.NamespacedName{Name: name}, profile); err != nil {
		return nil, getError("StorageProfile", name, err)
	}
	return profile, nil
}

// Servers lists the servers that volumes of a profile may lie on, in order. There is at least one.
func (c *Catalog) Servers(ctx context.Context, profile *v1alpha1.StorageProfile) ([]Server, error) {
	if selector := profile.Spec.BackendSelector; selector != nil {
		list, err := c.list(ctx, func(b *v1alpha1.NFSBackend) bool { return selector.Matches(b.Labels) })
		if err == nil && len(list) == 0 {
			err = fmt.Errorf("server of an NFSBackend with labels %q, as StorageProfile %q selects them: %w, or not ready yet",
				selector, profile.Name, ErrNotFound)
		}
		return list, err
	}
	return c.serversOf(ctx, profile.Spec.BackendRef.Name)
}

// serversOf lists the servers of a backend that have an address and that the manager has reached, in order of their
// numbers. There is at least one.
func (c *Catalog) serversOf(ctx context.Context, backend string) ([]Server, error) {
	b, err := c.backend(ctx, backend)
	if err != nil {
		return nil, err
	}
	list := servers(b)
	if len(list) == 0 {
		return nil, fmt.Errorf("server of NFSBackend %q: %w: it is not ready yet", backend, ErrNotFound)
	}
	return list, nil
}

func (c *Catalog) backend(ctx context.Context, name string) (*v1alpha1.NFSBackend, error) {
	b := &v1alpha1.NFSBackend{}
	if err := c.reader.Get(ctx, types.NamespacedName{Name: name}, b); err != nil {
		return nil, getError("NFSBackend", name, err)
	}
	return b, nil
}

// AllServers lists the servers of all backends, in order.
func (c *Catalog) AllServers(ctx context.Context) ([]Server, error) {
	return c.list(ctx, func(*v1alpha1.NFSBackend) bool { return true })
}

func (c *Catalog) list(ctx context.Context, wanted func(*v1alpha1.NFSBackend) bool) ([]Server, error) {
	var backends v1alpha1.NFSBackendList
	if err := c.reader.List(ctx, &backends); err != nil {
		return nil, fmt.Errorf("list NFSBackends: %w", err)
	}
	slices.SortFunc(backends.Items, func(a, b v1alpha1.NFSBackend) int { return cmp.Compare(a.Name, b.Name) })
	var list []Server
	for i := range backends.Items {
		if wanted(&backends.Items[i]) {
			list = append(list, servers(&backends.Items[i])...)
		}
	}
	return list, nil
}

// Server finds one server of a backend.
func (c *Catalog) Server(ctx context.Context, shard volumeid.Shard) (Server, error) {
	list, err := c.serversOf(ctx, shard.Backend)
	if err != nil {
		return Server{}, err
	}
	for _, s := range list {
		if s.Shard == shard {
			return s, nil
		}
	}
	return Server{}, fmt.Errorf("server %d of NFSBackend %q: %w", shard.Number, shard.Backend, ErrNotFound)
}

// Export finds a static export of a server; nil when there is none of that name.
func (c *Catalog) Export(ctx context.Context, shard volumeid.Shard, name string) (*v1alpha1.StaticExport, error) {
	b, err := c.backend(ctx, shard.Backend)
	if err != nil || b.Spec.Server == nil {
		return nil, err
	}
	for i := range b.Spec.Server.Exports {
		if e := &b.Spec.Server.Exports[i]; e.Name == name && e.Shard == shard.Number {
			return e, nil
		}
	}
	return nil, nil
}

// NamespaceAllowed tells whether claims of a namespace may use a profile.
func (c *Catalog) NamespaceAllowed(ctx context.Context, profile *v1alpha1.StorageProfile, namespace string) (bool, error) {
	allowed := profile.Spec.AllowedNamespaces
	if allowed == nil || slices.Contains(allowed.Names, namespace) {
		return true, nil
	}
	if allowed.Selector == nil || namespace == "" {
		return false, nil
	}
	n := &metav1.PartialObjectMetadata{}
	n.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	if err := c.live.Get(ctx, types.NamespacedName{Name: namespace}, n); err != nil {
		return false, getError("Namespace", namespace, err)
	}
	return allowed.Selector.Matches(n.Labels), nil
}

func servers(b *v1alpha1.NFSBackend) []Server {
	var list []Server
	for _, s := range b.Status.Shards {
		// A server that the manager has not reached yet counts as one that was never used, and may be deleted as such.
		if s.Address == "" || s.ServerID == "" {
			continue
		}
		list = append(list, Server{
			Shard: volumeid.Shard{Backend: b.Name, Number: s.Shard}, Address: s.Address, Serving: s.Serving,
			Deleting: !b.DeletionTimestamp.IsZero(),
		})
	}
	slices.SortFunc(list, func(a, b Server) int { return cmp.Compare(a.Shard.Number, b.Shard.Number) })
	return list
}

func getError(kind, name string, err error) error {
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("%s %q: %w", kind, name, ErrNotFound)
	}
	return fmt.Errorf("get %s %q: %w", kind, name, err)
}
