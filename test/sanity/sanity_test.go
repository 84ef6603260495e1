//go:build vm

package sanity

import (
	"crypto/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubernetes-csi/csi-test/v5/pkg/sanity"

	"github.com/nfs-operator/nfs-operator/internal/names"
	"github.com/nfs-operator/nfs-operator/test/sanity/skips"
)

// TestSanity runs all of csi-sanity that applies to what the driver says it can do.
func TestSanity(t *testing.T) {
	start, attributes := newMachine, map[string]string{"squash": "Root", "inodes": "5000"}
	if os.Getenv(externalVariable) != "" {
		start, attributes = newExternalMachine, map[string]string{"onDelete": "Delete"} // the rest is the other server's
	}
	m := start(t)
	node, _, stop := m.startNode(t)
	defer stop()
	config := sanity.NewTestConfig()
	config.Address = serve(t, m.controller(t), node)
	dir := t.TempDir()
	config.TargetPath = filepath.Join(dir, "target")
	config.StagingPath = filepath.Join(dir, "staging")
	config.TestVolumeParameters = map[string]string{names.ParameterProfile: profileName}
	config.TestVolumeMutableParameters = attributes
	config.TestVolumeSize = 64 * mib
	config.TestVolumeExpandSize = 128 * mib
	config.IDGen = ids{}
	skips.Forbid()
	sanity.Test(t, config)
	m.wantNothingLeft(t)
}

// externalVariable has TestSanity run over another NFS server.
const externalVariable = "TEST_SANITY_EXTERNAL"

// TestSanityExternal does the same where the volumes lie on another NFS server, and only their directories are ours. It takes a process of
// its own, for a suite runs once in each.
func TestSanityExternal(t *testing.T) {
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestSanity$", "-test.v")
	cmd.Env = append(os.Environ(), externalVariable+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || !strings.Contains(string(out), "--- PASS: TestSanity") {
		t.Errorf("did not pass: %v", err)
	}
}

// ids gives csi-sanity handles that are well formed, of volumes that do not exist.
type ids struct {
	sanity.DefaultIDGenerator
}

func (ids) GenerateUniqueValidVolumeID() string {
	return backendName + "/0/" + strings.ToLower(rand.Text()[:16])
}
