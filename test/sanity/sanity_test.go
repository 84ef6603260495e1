//go:build vm

package sanity

import (
	"crypto/rand"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/sanity/skips"
)

// TestSanity runs all of csi-sanity that applies to what the driver says it can do.
func TestSanity(t *testing.T) {
	m := newMachine(t)
	node, _, stop := m.startNode(t)
	defer stop()
	config := sanity.NewTestConfig()
	config.Address = serve(t, m.controller(t), node)
	dir := t.TempDir()
	config.TargetPath = filepath.Join(dir, "target")
	config.StagingPath = filepath.Join(dir, "staging")
	config.TestVolumeParameters = map[string]string{names.ParameterProfile: profileName}
	config.TestVolumeSize = 64 * mib
	config.TestVolumeExpandSize = 128 * mib
	config.IDGen = ids{}
	skips.Forbid()
	sanity.Test(t, config)
	m.wantNothingLeft(t)
}

// ids gives csi-sanity handles that are well formed, of volumes that do not exist.
type ids struct {
	sanity.DefaultIDGenerator
}

func (ids) GenerateUniqueValidVolumeID() string {
	return backendName + "/0/" + strings.ToLower(rand.Text()[:16])
}
