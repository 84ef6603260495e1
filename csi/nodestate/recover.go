package nodestate

import (
	"encoding/json"
	"os"
	"path"
	"path/filepath"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
	"github.com/nfs-operator/nfs-operator/internal/names"
)

// The kubelet's own note of what it has staged lies beside the staging path (kubernetes, pkg/volume/csi).
const (
	stagingName = "globalmount"
	noteName    = "vol_data.json"
	// largestNote is more than the kubelet ever writes.
	largestNote = 64 << 10
)

// note is what the kubelet writes down of a volume that it has staged.
type note struct {
	Driver string `json:"driverName"`
	Handle string `json:"volumeHandle"`
}

// Recover writes volumes down that are staged and are not in the directory: it was lost, or a file of it could not be
// read. It must be called before anything is announced, or the agents would close what pods use. It says which volumes
// it has found. Nothing in it asks a server.
func (s *Store) Recover(m mount.Mounter) ([]string, error) {
	mounts, err := m.Mounts()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, at := range mounts {
		handle, ok := staged(at)
		if !ok {
			continue
		}
		if _, known := s.Get(handle); known {
			continue
		}
		if _, err := s.Begin(Volume{
			Handle: handle, StagingPath: at.Target, Source: at.Source, ReadOnly: at.ReadOnly(), Recovered: true,
		}); err != nil {
			return found, err
		}
		found = append(found, handle)
	}
	return found, nil
}

// staged says which volume a mount is the staging of.
func staged(m mount.Mount) (handle string, ok bool) {
	if !m.IsNFS() || path.Base(m.Target) != stagingName {
		return "", false
	}
	file := filepath.Join(filepath.Dir(m.Target), noteName)
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() || info.Size() > largestNote {
		return "", false
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return "", false
	}
	var n note
	if err := json.Unmarshal(text, &n); err != nil || n.Driver != names.Driver {
		return "", false
	}
	v, err := volumeid.ParseVolume(n.Handle)
	if err != nil || !Shows(m, v) {
		return "", false
	}
	return v.String(), true
}

// Shows reports whether a mount shows a volume, as far as its name tells: servers export each as a directory that is
// named after its id, and a static export under its name.
func Shows(m mount.Mount, v volumeid.Volume) bool {
	base := path.Base(m.Source)
	return m.IsNFS() && (base == v.ID || "e-"+base == v.ID)
}
