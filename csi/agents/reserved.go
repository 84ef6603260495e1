package agents

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"syscall"
)

// The reserved ports that the kernel's NFS client uses by default (sunrpc.min_resvport, max_resvport).
const (
	firstReserved = 665
	lastReserved  = 1023
)

// ErrNoReservedPort is returned when no port below 1024 is free.
var ErrNoReservedPort = errors.New("no reserved port is free")

// occupied are ports in that range at which programs of a node may want to listen: what glibc's
// /etc/bindresvport.blacklist is for.
var occupied = map[int]bool{
	749: true, 750: true, 751: true, 783: true, 853: true, 873: true, 921: true,
	989: true, 990: true, 992: true, 993: true, 994: true, 995: true,
}

// DialReserved connects from a port below 1024, which only root can bind: where it arrives as such at the agent, the
// node is told to mount from such ports, too, and the server refuses other processes of the node. Ports are only a
// hurdle, no proof; the certificate is. Without the right to bind one it connects from any port.
func DialReserved(ctx context.Context, address string) (net.Conn, error) {
	const ports = lastReserved - firstReserved + 1
	start := rand.IntN(ports) //nolint:gosec // spreads load, protects nothing
	for i := range ports {
		port := firstReserved + (start+i)%ports
		if occupied[port] {
			continue
		}
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
		conn, err := dialer.DialContext(ctx, "tcp", address)
		switch {
		case err == nil:
			return conn, nil
		case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
			return (&net.Dialer{}).DialContext(ctx, "tcp", address)
		case errors.Is(err, syscall.EADDRINUSE), errors.Is(err, syscall.EADDRNOTAVAIL):
			continue // taken, or to this address a little while ago
		default:
			return nil, err
		}
	}
	return nil, fmt.Errorf("connect to %s: %w", address, ErrNoReservedPort)
}
