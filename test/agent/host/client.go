package host

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/internal/pki"
)

const address = "127.0.0.1"

// Controller is a client with the CSI controller's certificate.
func (h *Host) Controller(tb testing.TB) agentv1.AgentClient {
	tb.Helper()
	return h.client(tb, pki.Identity{Role: pki.RoleController, Name: "csi-controller"}, 0)
}

// Manager is a client with the manager's certificate.
func (h *Host) Manager(tb testing.TB) agentv1.AgentClient {
	tb.Helper()
	return h.client(tb, pki.Identity{Role: pki.RoleManager, Name: "manager"}, 0)
}

// Node is a client with a node's certificate that connects from a privileged port, as the node plugin does.
func (h *Host) Node(tb testing.TB, name string) agentv1.AgentClient {
	tb.Helper()
	return h.client(tb, pki.Identity{Role: pki.RoleNode, Name: name}, 1)
}

// UnprivilegedNode connects from an ordinary port.
func (h *Host) UnprivilegedNode(tb testing.TB, name string) agentv1.AgentClient {
	tb.Helper()
	return h.client(tb, pki.Identity{Role: pki.RoleNode, Name: name}, 0)
}

// Stranger is a client without a certificate.
func (*Host) Stranger(tb testing.TB) agentv1.AgentClient {
	tb.Helper()
	conn, err := grpc.NewClient(target(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return agentv1.NewAgentClient(conn)
}

func target() string { return fmt.Sprintf("passthrough:///%s:%d", address, names.PortAgent) }

func (h *Host) client(tb testing.TB, id pki.Identity, privileged int) agentv1.AgentClient {
	tb.Helper()
	dir := filepath.Join("/run", "client-"+strings.ReplaceAll(string(id.Role), ":", "-")+"-"+id.Name)
	if err := h.WriteIdentity(dir, id); err != nil {
		tb.Fatal(err)
	}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(pki.DirSource(h.Path(dir)).ClientCredentials(h.Shard())),
		grpc.WithDefaultCallOptions(grpc.WaitForReady(true)),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: 5 * time.Second}),
	}
	if privileged != 0 {
		options = append(options, grpc.WithContextDialer(dialPrivileged))
	}
	conn, err := grpc.NewClient(target(), options...)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return agentv1.NewAgentClient(conn)
}

// dialPrivileged connects from the first free port below 1024.
func dialPrivileged(ctx context.Context, to string) (net.Conn, error) {
	var err error
	for port := 1023; port >= 665; port-- {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}, Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) })
		}}
		var conn net.Conn
		if conn, err = d.DialContext(ctx, "tcp", to); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

// Mount mounts a volume with the kernel's NFS client, as the node plugin does. It is unmounted by force at the end of the test.
func (*Host) Mount(tb testing.TB, access *agentv1.OpenAccessResponse) string {
	tb.Helper()
	dir, err := TryMount(access.GetPath(), access.GetMountOptions()...)
	if err != nil {
		tb.Fatalf("mount: %v", err)
	}
	tb.Cleanup(func() { Unmount(dir) })
	return dir
}

// TryMount mounts a path of the server.
func TryMount(path string, options ...string) (string, error) {
	dir, err := os.MkdirTemp("/mnt", "nfs-")
	if err != nil {
		return "", err
	}
	options = append([]string{"vers=4.2,hard,timeo=100,retrans=1,addr=" + address + ",clientaddr=" + address}, options...)
	return dir, unix.Mount(address+":"+path, dir, "nfs4", 0, strings.Join(options, ","))
}

// Unmount ends a mount, by force if need be.
func Unmount(dir string) {
	if unix.Unmount(dir, 0) != nil {
		_ = unix.Unmount(dir, unix.MNT_FORCE)
		_ = unix.Unmount(dir, unix.MNT_DETACH)
	}
}
