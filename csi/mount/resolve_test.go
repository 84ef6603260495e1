package mount

import (
	"context"
	"errors"
	"net/netip"
	"testing"
)

type dns map[string]string

func (d dns) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	if address, ok := d[host]; ok {
		return []netip.Addr{netip.MustParseAddr(address)}, nil
	}
	return nil, errors.New("no such host")
}

// TestNoTenantIsTheServer: a resolver tries search domains for every name that does not end in a dot, and tenants can make names there.
func TestNoTenantIsTheServer(t *testing.T) {
	names := dns{
		"nas": "10.0.0.1", "nas.prod.": "10.0.0.2", "nas.example.org.": "::ffff:10.0.0.3",
		"nas.prod": "10.6.6.6", "nas.example.org": "10.6.6.6", "tenant.": "10.0.0.4", "tenant": "10.6.6.6",
	}
	for server, want := range map[string]string{
		"nas": "10.0.0.1", "nas.prod": "10.0.0.2", "nas.prod.": "10.0.0.2", "nas.example.org": "10.0.0.3", "tenant.": "10.0.0.4",
		"10.0.0.9": "10.0.0.9", "::ffff:10.0.0.9": "10.0.0.9", "fd00::1": "fd00::1",
	} {
		if got, err := Resolve(t.Context(), names, server); err != nil || got != want {
			t.Errorf("%s: %s, %v", server, got, err)
		}
	}
	if got, err := Resolve(t.Context(), names, "away.example.org"); err == nil {
		t.Errorf("found at %s", got)
	}
}
