package agents

import (
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

type book map[volumeid.Shard]string

func (b book) Address(s volumeid.Shard) string                   { return b[s] }
func (b book) SetAddress(s volumeid.Shard, address string) error { b[s] = address; return nil }

type dns map[string]string

func (d dns) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if address, ok := d[host]; ok {
		return []netip.Addr{netip.MustParseAddr(address)}, nil
	}
	return nil, errors.New("no such host")
}

func TestConnectByNameThenByMemory(t *testing.T) {
	const name = "nfsd-0-main.storage.svc"
	pool := NewPool(plain{}, nil)
	t.Cleanup(pool.Close)
	names, memory := dns{}, book{}
	node := NewNode(pool, names, "storage", memory)

	if c, err := node.Connect(t.Context(), shard); err == nil {
		t.Errorf("a server nobody knows is at %s", c.Address)
	}
	node.Published = func(context.Context, volumeid.Shard) string { return "10.0.0.3" }
	if c, err := node.Connect(t.Context(), shard); err != nil || c.Address != "10.0.0.3" {
		t.Errorf("without DNS, for the first time: %+v, %v", c, err)
	}
	names[name] = "10.0.0.1"
	c, err := node.Connect(t.Context(), shard)
	if err != nil || c.Address != "10.0.0.1" {
		t.Fatalf("Connect = %+v, %v", c, err)
	}
	if memory[shard] != "" {
		t.Error("an address was remembered at which no agent has answered")
	}
	if err := node.Confirm(shard, c.Address); err != nil {
		t.Fatal(err)
	}
	delete(names, name)
	if c, err := node.Connect(t.Context(), shard); err != nil || c.Address != "10.0.0.1" {
		t.Errorf("without DNS: %+v, %v", c, err)
	}
}

func TestMappedAddressIsUnmapped(t *testing.T) {
	pool := NewPool(plain{}, nil)
	t.Cleanup(pool.Close)
	node := NewNode(pool, dns{"nfsd-0-main.storage.svc": "::ffff:10.0.0.1"}, "storage", book{})
	if c, err := node.Connect(t.Context(), shard); err != nil || c.Address != "10.0.0.1" {
		t.Errorf("Connect = %+v, %v", c, err)
	}
}

func TestExternalServerIsNotLookedUpInSearchDomains(t *testing.T) {
	pool := NewPool(plain{}, nil)
	t.Cleanup(pool.Close)
	node := NewNode(pool, dns{"nas.prod": "10.6.6.6", "nas.prod.": "10.0.0.1"}, "storage", book{})
	if address, err := node.Resolve(t.Context(), "nas.prod"); err != nil || address != "10.0.0.1" {
		t.Errorf("resolved to %s, %v", address, err)
	}
}
