package announce

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
)

// BootID is a text that is another one after each boot of the node.
func BootID() (string, error) {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(text)), nil
}

// Client is how this node can appear to a server, which is not known beforehand: kube-proxy gives a connection the
// address of the interface by which it leaves, and that changes when the server moves. So it names all of them.
func Client(bootID string) (*agentv1.Client, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("list interfaces: %w", err)
	}
	var addresses []net.Addr
	for _, i := range interfaces {
		// No connection leaves by an interface that is down: kube-proxy's kube-ipvs0, for one, which carries the
		// address of every Service.
		if i.Flags&net.FlagUp == 0 {
			continue
		}
		list, err := i.Addrs()
		if err != nil {
			return nil, fmt.Errorf("list addresses of %s: %w", i.Name, err)
		}
		addresses = append(addresses, list...)
	}
	return &agentv1.Client{BootId: bootID, Addresses: global(addresses)}, nil
}

// global selects the addresses that another host could see.
func global(addresses []net.Addr) []string {
	var list []string
	for _, a := range addresses {
		prefix, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		address := prefix.Addr().Unmap()
		if address.IsGlobalUnicast() && !slices.Contains(list, address.String()) {
			list = append(list, address.String())
		}
	}
	slices.Sort(list)
	return list
}
