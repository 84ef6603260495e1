// Package catalog is what the CSI controller reads of the cluster's custom resources.
package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// Catalog reads through a client, which should be a cache.
type Catalog struct {
	reader client.Reader
}

// New makes a Catalog.
func New(reader client.Reader) *Catalog { return &Catalog{reader: reader} }

// Profile finds a StorageProfile.
func (c *Catalog) Profile(ctx context.Context, name string) (*v1alpha1.StorageProfile, error) {
	profile := &v1alpha1.StorageProfile{}
	if err := c.reader.Get(ctx, types.NamespacedName{Name: name}, profile); err != nil {
		return nil, getError("StorageProfile", name, err)
	}
	return profile, nil
}

// Servers lists the servers of a backend that have an address and that the manager has reached, in order of their numbers. There is at least one.
func (c *Catalog) Servers(ctx context.Context, backend string) ([]Server, error) {
	b := &v1alpha1.NFSBackend{}
	if err := c.reader.Get(ctx, types.NamespacedName{Name: backend}, b); err != nil {
		return nil, getError("NFSBackend", backend, err)
	}
	list := servers(b)
	if len(list) == 0 {
		return nil, fmt.Errorf("server of NFSBackend %q: %w: it is not ready yet", backend, ErrNotFound)
	}
	return list, nil
}

// AllServers lists the servers of all backends, in order.
func (c *Catalog) AllServers(ctx context.Context) ([]Server, error) {
	var backends v1alpha1.NFSBackendList
	if err := c.reader.List(ctx, &backends); err != nil {
		return nil, fmt.Errorf("list NFSBackends: %w", err)
	}
	slices.SortFunc(backends.Items, func(a, b v1alpha1.NFSBackend) int { return cmp.Compare(a.Name, b.Name) })
	var list []Server
	for i := range backends.Items {
		list = append(list, servers(&backends.Items[i])...)
	}
	return list, nil
}

// Server finds one server of a backend.
func (c *Catalog) Server(ctx context.Context, shard volumeid.Shard) (Server, error) {
	list, err := c.Servers(ctx, shard.Backend)
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
