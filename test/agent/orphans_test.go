//go:build vm && long

package agent

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// noOrphans checks that everything on the disk belongs to a record and every record has what it describes, when the work in the
// background has come to its end.
func noOrphans(t *testing.T, d *disk) {
	t.Helper()
	var left []string
	for end := time.Now().Add(60 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if left = orphans(t, d); len(left) == 0 {
			return
		}
	}
	t.Fatalf("left over or missing:\n%s", strings.Join(left, "\n"))
}

func orphans(t *testing.T, d *disk) (found []string) {
	t.Helper()
	projects := map[uint32]bool{}
	volumes, snapshots, claims, records := map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}
	for _, v := range d.Store.Volumes() {
		if v.State != store.StateReady && v.State != store.StateRetained {
			found = append(found, fmt.Sprintf("volume %s is %s", v.Name, v.State))
		}
		volumes[v.ID], records[v.ID+".json"], projects[v.ProjectID] = true, true, true
		if v.State == store.StateReady {
			claims[v.Spec.ClaimNamespace+"/"+v.Spec.ClaimName] = true
		}
	}
	for _, s := range d.Store.Snapshots() {
		if s.State != store.StateReady {
			found = append(found, fmt.Sprintf("snapshot %s is %s", s.Name, s.State))
		}
		snapshots[s.ID], projects[s.ProjectID] = true, true
	}
	for _, x := range d.Store.Exports() {
		projects[x.ProjectID] = true
	}
	for _, dir := range directories(t, d.Store.StaticRoot()) { // one that has no record yet gets that of its project
		projects[projectOf(t, dir)] = true
	}
	archive := map[string]bool{}
	archived, err := d.Store.ListArchive()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range archived {
		archive[a.String()], archive[a.String()+".json"], projects[a.ProjectID] = true, true, true
	}
	found = append(found, compare(t, d.Store.Root, "volumes/*", volumes)...)
	found = append(found, compare(t, d.Store.Root, "snapshots/*", snapshots)...)
	found = append(found, compare(t, d.Store.Root, "archive/*", archive)...)
	found = append(found, compare(t, d.Store.Root, ".nfs-operator/volumes/*", records)...)
	found = append(found, compare(t, d.Store.Root, ".nfs-operator/volumes/.*", nil)...)
	found = append(found, compare(t, d.Store.Root, "by-claim/*/*", claims)...)
	found = append(found, compare(t, d.Store.Root, "trash/*", nil)...)
	found = append(found, compare(t, d.Store.Root, "tmp/*", nil)...)
	return append(found, chargedProjects(t, d, projects)...)
}

// compare lists what a pattern finds too much and too little of, below a directory.
func compare(t *testing.T, root, pattern string, want map[string]bool) (found []string) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, pattern))
	if err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(root, strings.TrimRight(pattern, "*/."))
	var got []string
	for _, path := range paths {
		name, _ := filepath.Rel(base, path)
		if name == ".." || name == "." {
			continue
		}
		if got = append(got, name); !want[name] {
			found = append(found, pattern+": "+name+" is left over")
		}
	}
	for name := range want {
		if !slices.Contains(got, name) {
			found = append(found, pattern+": "+name+" is missing")
		}
	}
	return found
}

func directories(t *testing.T, root string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// projectOf asks the kernel which project a directory is charged to (FS_IOC_FSGETXATTR).
func projectOf(t *testing.T, dir string) uint32 {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var attributes struct {
		Flags, ExtentSize, Extents, Project, CowExtentSize uint32
		Pad                                                [8]byte
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), 0x801c581f, uintptr(unsafe.Pointer(&attributes))); errno != 0 {
		t.Fatal(errno)
	}
	return attributes.Project
}

// nextQuota is Q_XGETNEXTQUOTA of project quotas, from the kernel's dqblk_xfs.h.
const nextQuota = ('X'<<8+9)<<8 | 2

// chargedProjects lists the projects that something is charged to, or that have limits, and that nobody owns.
func chargedProjects(t *testing.T, d *disk, owned map[uint32]bool) (found []string) {
	t.Helper()
	root, err := os.Open(d.Store.Root)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for p := uint32(1); ; p++ {
		var q [112]byte // struct fs_disk_quota
		_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, root.Fd(), nextQuota, uintptr(p), uintptr(unsafe.Pointer(&q)), 0, 0)
		if errno == unix.ENOENT {
			return found
		}
		if errno != 0 {
			t.Fatalf("next quota: %v", errno)
		}
		p = binary.NativeEndian.Uint32(q[4:])
		used := binary.NativeEndian.Uint64(q[40:]) + binary.NativeEndian.Uint64(q[48:])
		limits := binary.NativeEndian.Uint64(q[8:]) + binary.NativeEndian.Uint64(q[24:])
		if !owned[p] && used+limits != 0 {
			found = append(found, fmt.Sprintf("project %d has no owner: uses %d, limits %d", p, used, limits))
		}
	}
}
