package mount

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// Resolver finds the addresses of a DNS name; net.Resolver is one.
type Resolver interface {
	LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error)
}

// Resolve finds the address of an NFS server that a person has named: by IP address, or by DNS name. A name with a dot in it is looked up
// as it stands, never in a search domain: those of a pod lie within the cluster, where nas.prod.svc.cluster.local, which is tried before
// nas.prod, is a Service that whoever has the namespace prod can make.
func Resolve(ctx context.Context, r Resolver, server string) (string, error) {
	if address, err := netip.ParseAddr(server); err == nil {
		return address.Unmap().String(), nil
	}
	name, advice := server, ""
	if strings.Contains(name, ".") {
		name = strings.TrimSuffix(name, ".") + "."
		advice = " (looked up as it stands, without search domains: a Service of the cluster has a name such as nas.team.svc.cluster.local)"
	}
	addresses, err := r.LookupNetIP(ctx, "ip", name)
	if err == nil && len(addresses) == 0 {
		err = &net.DNSError{Err: "no address", Name: name}
	}
	if err != nil {
		return "", fmt.Errorf("find NFS server %.255q%s: %w", server, advice, err)
	}
	return addresses[0].Unmap().String(), nil
}
