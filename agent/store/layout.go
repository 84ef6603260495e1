package store

import "path/filepath"

// Layout is where everything lies below the directory where the disk is mounted.
type Layout struct{ Root string }

const (
	metaDir = ".nfs-operator"
	jsonExt = ".json"
	// A volume's record has another ending while it is being made or deleted.
	creatingExt = ".creating"
	deletingExt = ".deleting"

	dirPerm  = 0o711 // clients' processes on the server walk through, nobody lists
	metaPerm = 0o700
	filePerm = 0o600
	ballast  = "ballast"
	byClaim  = "by-claim"

	volumesDir = "volumes"
	serverKey  = "server"
)

// Meta is the directory of records, or something in it.
func (l Layout) Meta(elem ...string) string {
	return filepath.Join(append([]string{l.Root, metaDir}, elem...)...)
}

// ServerRecord is the file that says whose disk it is. It is there as long as the disk is in use.
func (l Layout) ServerRecord() string { return l.Meta(serverKey + jsonExt) }

func (l Layout) volumeRecords() string   { return l.Meta("volumes") }
func (l Layout) snapshotRecords() string { return l.Meta("snapshots") }
func (l Layout) nodeRecords() string     { return l.Meta("nodes") }

// volumeFile is a volume's record. Its name says the state, so that a new state alone costs one rename.
func (l Layout) volumeFile(id string, s State) string {
	ext := jsonExt
	switch s {
	case StateCreating:
		ext = creatingExt
	case StateDeleting:
		ext = deletingExt
	case StateReady, StateRetained:
	}
	return filepath.Join(l.volumeRecords(), id+ext)
}

func (l Layout) snapshotFile(id string) string { return filepath.Join(l.snapshotRecords(), id+jsonExt) }

func (l Layout) nodeFile(name string) string     { return filepath.Join(l.nodeRecords(), name+jsonExt) }
func (l Layout) claimsDir() string               { return filepath.Join(l.Root, byClaim) }
func (l Layout) claimLink(ns, pvc string) string { return filepath.Join(l.claimsDir(), ns, pvc) }

// Probe is the directory whose file handle is compared at each start.
func (l Layout) Probe() string { return l.Meta() }

// Recovery is where Ganesha keeps its clients' state.
func (l Layout) Recovery() string { return l.Meta("recovery") }

// Ballast is a file whose removal makes room for records on a full disk.
func (l Layout) Ballast() string { return l.Meta(ballast) }

// VolumesName is the directory that holds the volumes, below the root.
func (Layout) VolumesName() string { return volumesDir }

// VolumeDir is what a client sees as /<id>.
func (l Layout) VolumeDir(id string) string { return filepath.Join(l.Root, volumesDir, id) }

// SnapshotDir holds a snapshot's tree.
func (l Layout) SnapshotDir(id string) string { return filepath.Join(l.Root, "snapshots", id) }

// TmpDir is where a volume or snapshot is built before it is renamed to its place. Volumes and snapshots must not meet
// there, hence kind.
func (l Layout) TmpDir(kind Kind, id string) string {
	return filepath.Join(l.Root, "tmp", string(kind)+"-"+id)
}

// Kind tells volumes and snapshots apart where they lie side by side.
type Kind string

const (
	KindVolume   Kind = "v"
	KindSnapshot Kind = "s"
)

// Trash holds trees that are being emptied.
func (l Layout) Trash() string { return filepath.Join(l.Root, "trash") }

// Archive holds the data of deleted volumes that their profile wants kept.
func (l Layout) Archive() string { return filepath.Join(l.Root, "archive") }

// TrashDir is a deleted tree's place.
func (l Layout) TrashDir(d Discarded) string { return filepath.Join(l.Trash(), d.String()) }

// ArchiveDir is a deleted volume's place in the archive.
func (l Layout) ArchiveDir(d Discarded) string { return filepath.Join(l.Archive(), d.String()) }

// archiveFile is the last record of an archived volume.
func (l Layout) archiveFile(d Discarded) string { return l.ArchiveDir(d) + jsonExt }

// directories lists what must exist, parents first. None of them may ever carry PROJINHERIT: renames into it would fail.
func (l Layout) directories() map[string]uint32 {
	return map[string]uint32{
		l.Meta(): metaPerm, l.volumeRecords(): metaPerm, l.snapshotRecords(): metaPerm, l.nodeRecords(): metaPerm,
		l.Recovery(): metaPerm, l.exportRecords(): metaPerm, l.StaticRoot(): dirPerm,
		filepath.Join(l.Root, volumesDir): dirPerm, filepath.Join(l.Root, "snapshots"): metaPerm,
		filepath.Join(l.Root, "tmp"): metaPerm, l.Trash(): metaPerm, l.Archive(): metaPerm, l.claimsDir(): metaPerm,
	}
}
