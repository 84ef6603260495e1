//go:build vm

package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// All clients of these tests connect from the loopback address; 127.0.0.0/8 is their network.
var (
	here      = netip.MustParsePrefix("127.0.0.0/8")
	elsewhere = netip.MustParsePrefix("192.0.2.0/24")
)

func staticExport(name string, clients ...config.ExportClient) config.StaticExport {
	return config.StaticExport{
		Name: name, Path: name, Bytes: 32 * mib, Squash: config.SquashRoot, AnonymousUID: 65534, AnonymousGID: 65534, Clients: clients,
	}
}

// TestStaticExports follows static exports through all that can be done with them, without a restart of Ganesha.
func TestStaticExports(t *testing.T) {
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	h.WriteExports(t, config.Exports{Exports: []config.StaticExport{
		staticExport("media", config.ExportClient{CIDR: here}, config.ExportClient{CIDR: elsewhere, ReadOnly: true}),
		staticExport("private", config.ExportClient{CIDR: elsewhere}),
	}})
	a := h.Start(t, h.Config(host.DiskLarge))
	a.WaitServing(t)
	media := mountStatic(t, "/e-media")
	if err := os.WriteFile(filepath.Join(media, "file"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := sizeOf(t, media); got != 32*mib {
		t.Errorf("df says %d bytes, want %d", got, 32*mib)
	}
	wantRefused(t, "/e-private")

	t.Run("a handle is enough for a node", func(t *testing.T) { testAStaticExportIsOpenedLikeAVolume(t, h) })
	t.Run("changes without a restart", func(t *testing.T) { testExportsChangeWithoutARestart(t, h, media) })
	t.Run("a file that is not right changes nothing", func(t *testing.T) { testAWrongFileChangesNothing(t, h, a) })
	t.Run("a symbolic link is not followed", func(t *testing.T) { testAPlantedLinkIsNotExported(t, h) })
	t.Run("networks reach every volume", func(t *testing.T) { testNetworksReachEveryVolume(t, h) })
	st, err := h.Manager(t).GetStatus(within(t, 60*time.Second), &agentv1.GetStatusRequest{})
	if err != nil || st.GetGaneshaRestarts() != 0 || !st.GetServing() || st.GetExports() != 2 {
		t.Errorf("status %v, %v", st, err)
	}
}

// mountStatic mounts from a privileged port, as mount.nfs does: all mounts of a client share a connection, and one from another port
// would keep volumes from being mounted beside it.
func mountStatic(t *testing.T, path string) string {
	t.Helper()
	var dir string
	eventually(t, 60*time.Second, "mounted "+path, func() (ok bool) {
		d, err := host.TryMount(path, "resvport")
		dir = d
		return err == nil
	})
	t.Cleanup(func() { host.Unmount(dir) })
	return dir
}

func wantRefused(t *testing.T, path string) {
	t.Helper()
	if dir, err := host.TryMount(path, "resvport"); err == nil {
		host.Unmount(dir)
		t.Errorf("%s was mounted by a client that is not on its list", path)
	}
}

func testAStaticExportIsOpenedLikeAVolume(t *testing.T, h *host.Host) {
	t.Helper()
	node := h.Node(t, "node-a")
	access := open(t, node, "e-private")
	if access.GetPath() != "/e-private" {
		t.Fatalf("access %v", access)
	}
	dir := h.Mount(t, access)
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600); err != nil {
		t.Error(err)
	}
	usage, err := node.GetUsage(within(t, 60*time.Second), &agentv1.GetUsageRequest{Id: "e-private"})
	if err != nil || usage.GetTotalBytes() != 32*mib || usage.GetUsedBytes() == 0 {
		t.Errorf("usage %v, %v", usage, err)
	}
	host.Unmount(dir)
	announce(t, node, 2)
	wantRefused(t, "/e-private")
	_, err = node.OpenAccess(within(t, 60*time.Second), openRequest("e-absent"))
	wantCode(t, err, codes.NotFound)
	// A PersistentVolume with reclaimPolicy Delete must not take the data with it.
	if _, err := h.Controller(t).DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: "e-private"}); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(h.DataDir(), "exports/private/file")); err != nil {
		t.Error(err)
	}
}

func testExportsChangeWithoutARestart(t *testing.T, h *host.Host, media string) {
	t.Helper()
	later := config.Exports{Exports: []config.StaticExport{
		staticExport("media", config.ExportClient{CIDR: here, ReadOnly: true}),
		staticExport("private"),
		staticExport("new", config.ExportClient{CIDR: netip.MustParsePrefix("127.0.0.1/32")}, config.ExportClient{CIDR: netip.MustParsePrefix("0.0.0.0/0"), ReadOnly: true}),
	}}
	h.WriteExports(t, later)
	dir := mountStatic(t, "/e-new")
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Errorf("the smallest network decides: %v", err)
	}
	eventually(t, 60*time.Second, "the mount in use is read-only", func() bool {
		return os.WriteFile(filepath.Join(media, "more"), []byte("x"), 0o600) != nil
	})
	later.Exports = later.Exports[:2]
	h.WriteExports(t, later)
	eventually(t, 60*time.Second, "the export is gone", func() bool {
		d, err := host.TryMount("/e-new", "resvport")
		if err == nil {
			host.Unmount(d)
		}
		return err != nil
	})
	if _, err := os.Stat(filepath.Join(h.DataDir(), "exports/new/file")); err != nil {
		t.Errorf("the data of an export that was taken away: %v", err)
	}
	later.Exports = append(later.Exports, staticExport("new", config.ExportClient{CIDR: here}))
	later.Exports[0].Clients[0].ReadOnly = false
	h.WriteExports(t, later)
	eventually(t, 60*time.Second, "the old mount of an export that is back", func() bool {
		_, err := os.ReadFile(filepath.Join(dir, "file"))
		return err == nil
	})
	later.Exports = later.Exports[:2]
	if err := os.Remove(filepath.Join(dir, "file")); err != nil {
		t.Error(err)
	}
	host.Unmount(dir)
	h.WriteExports(t, later)
}

func testAWrongFileChangesNothing(t *testing.T, h *host.Host, a *host.Agent) {
	t.Helper()
	h.WriteExportsText(t, []byte("exports: [{name: '\"; } EXPORT {', path: ../volumes, bytes: 1, squash: None}]"))
	warned := func(ctx context.Context) string {
		st, err := h.Manager(t).GetStatus(ctx, &agentv1.GetStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(st.GetWarnings(), "\n")
	}
	eventually(t, 60*time.Second, "a warning", func() bool { return strings.Contains(warned(within(t, 60*time.Second)), "DNS label") })
	mountStatic(t, "/e-media")
	h.WriteExports(t, config.Exports{Exports: []config.StaticExport{
		staticExport("media", config.ExportClient{CIDR: here}),
		{Name: "huge", Path: "huge", Bytes: 1 << 50, Squash: config.SquashNone},
	}})
	eventually(t, 60*time.Second, "no space", func() bool { return strings.Contains(warned(within(t, 60*time.Second)), "bytes are free") })
	_ = a
}

func testAPlantedLinkIsNotExported(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-victim", 16*mib)
	if err := os.WriteFile(filepath.Join(h.DataDir(), "volumes", v.GetId(), "secret"), []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	planted := filepath.Join(h.DataDir(), "exports/planted")
	if err := os.Symlink("../volumes/"+v.GetId(), planted); err != nil {
		t.Fatal(err)
	}
	h.WriteExports(t, config.Exports{Exports: []config.StaticExport{
		staticExport("media", config.ExportClient{CIDR: here}), staticExport("planted", config.ExportClient{CIDR: here}),
		staticExport("after", config.ExportClient{CIDR: here}),
	}})
	mountStatic(t, "/e-after")
	wantRefused(t, "/e-planted")
}

func testNetworksReachEveryVolume(t *testing.T, h *host.Host) {
	t.Helper()
	v := create(t, h.Controller(t), "pvc-network", 16*mib)
	wantRefused(t, "/"+v.GetId())
	exports := []config.StaticExport{staticExport("media", config.ExportClient{CIDR: here})}
	h.WriteExports(t, config.Exports{AccessCIDRs: []netip.Prefix{here}, Exports: exports})
	host.Unmount(mountStatic(t, "/"+v.GetId()))
	h.WriteExports(t, config.Exports{AccessCIDRs: []netip.Prefix{elsewhere}, Exports: exports})
	eventually(t, 60*time.Second, "another network only", func() bool {
		d, err := host.TryMount("/"+v.GetId(), "resvport")
		if err == nil {
			host.Unmount(d)
		}
		return err != nil
	})
}
