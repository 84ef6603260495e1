package driver

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"github.com/go-logr/logr"
	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"
	"github.com/prometheus/client_golang/prometheus"

	csiserver "github.com/nfs-operator/nfs-operator/csi/server"
	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/sanity/skips"
)

// TestSanity runs csi-sanity over sockets against both services, with an agent and a kernel in memory. The same over
// real ones is test/sanity.
func TestSanity(t *testing.T) {
	dir := t.TempDir()
	f := newFixture(t)
	listener, err := csiserver.Listen(t.Context(), filepath.Join(dir, "csi.sock"))
	if err != nil {
		t.Fatal(err)
	}
	g := csiserver.New(logr.Discard(), csiserver.NewMetrics(prometheus.NewRegistry()))
	csi.RegisterIdentityServer(g, NewIdentity(func() bool { return true }))
	csi.RegisterControllerServer(g, f.controller)
	csi.RegisterNodeServer(g, f.node)
	go func() { _ = g.Serve(listener) }()
	t.Cleanup(g.Stop)

	config := sanity.NewTestConfig()
	config.Address = "unix://" + filepath.Join(dir, "csi.sock")
	config.TargetPath = filepath.Join(dir, "target")
	config.StagingPath = filepath.Join(dir, "staging")
	config.TestVolumeParameters = map[string]string{names.ParameterProfile: profileName}
	config.IDGen = ids{}
	skips.Forbid()
	sanity.Test(t, config)

	if left := f.agents[0].Granted(); len(left) > 0 {
		t.Errorf("access is left open to %v", left)
	}
	if left, _ := f.mounts.Mounts(); len(left) > 0 {
		t.Errorf("left mounted: %v", left)
	}
}

// ids gives csi-sanity handles that are well formed, of volumes that do not exist.
type ids struct {
	sanity.DefaultIDGenerator
}

func (ids) GenerateUniqueValidVolumeID() string {
	return backendName + "/0/" + strings.ToLower(rand.Text()[:16])
}
