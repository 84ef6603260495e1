//go:build vm && long

package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"

	"github.com/nfs-operator/nfs-operator/agent/access"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/agent/engine"
	"github.com/nfs-operator/nfs-operator/agent/exports"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// operationVariable makes the test program do one operation on a disk: its name, the directory, and the name of the object.
const operationVariable = "TEST_OPERATION"

// killable is an operation that is killed before each of its system calls, and then repeated.
type killable struct {
	name string
	// prepare makes what the operation needs, for an object of that name.
	prepare func(d *disk, name string) error
	// do is the operation. It is done by the process that is killed, and repeated by the next.
	do func(d *disk, name string) error
	// check says what must be so when it has been done.
	check func(d *disk, name string) error
}

const (
	witness    = "witness" // a volume that no operation may touch, and the source of copies
	killedNode = "node-killed"
	otherGroup = 4711
)

var manyInodes = int64(5000)

func volumeRequest(name string, onDelete store.OnDelete) engine.CreateRequest {
	return engine.CreateRequest{Name: name, Spec: store.Spec{
		Bytes: 4 * mib, Mode: 0o2770, GID: 1000, Squash: store.SquashNone, OnDelete: onDelete, ClaimNamespace: "team", ClaimName: name,
	}}
}

// makeVolume makes a volume with a file in it.
func makeVolume(d *disk, name string, onDelete store.OnDelete) error {
	v, err := d.Create(context.Background(), volumeRequest(name, onDelete))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.Store.VolumeDir(v.ID), "file"), []byte(name), 0o640)
}

func holds(dir, text string) error {
	got, err := os.ReadFile(filepath.Join(dir, "file"))
	if err == nil && string(got) != text {
		err = fmt.Errorf("%s holds %q, want %q", dir, got, text)
	}
	return err
}

func inService(d *disk, name string) error {
	v, err := d.Volume(store.ID(name))
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(d.Store.VolumeDir(v.ID), &st); err != nil {
		return err
	}
	q, err := d.fs.Quota(v.ProjectID)
	if err == nil && (q.LimitBytes != v.Spec.Bytes || st.Mode&0o7777 != v.Spec.Mode || st.Gid != v.Spec.GID) {
		err = fmt.Errorf("quota %+v, mode %o, group %d", q, st.Mode, st.Gid)
	}
	return err
}

func gone(d *disk, name string) error {
	if v, ok := d.Store.Volume(store.ID(name)); ok {
		return fmt.Errorf("there is a record: %+v", v)
	}
	return nil
}

func deleteVolume(d *disk, name string) error { return d.Delete(context.Background(), store.ID(name)) }

// patiently repeats what is answered with busy.
func patiently(do func() error) error {
	for {
		err := do()
		if !errors.Is(err, engine.ErrBusy) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

func takeSnapshot(d *disk, name string) error {
	return patiently(func() error {
		_, err := d.CreateSnapshot(context.Background(), name, store.ID(witness))
		return err
	})
}

func openAccess(d *disk, name string) error { return openFrom(d, killedNode, name) }

// openFrom admits a node to a volume that is for one node at a time.
func openFrom(d *disk, node, name string) error {
	_, err := d.book.Open(callerOf(node), access.Client{BootID: "boot"}, store.ID(name), store.Grant{Generation: 1, SingleNode: true})
	return err
}

func callerOf(node string) access.Caller {
	return access.Caller{Node: node, Peer: netip.MustParseAddrPort("10.0.0.1:700")}
}

func heldBy(d *disk, name string, want ...string) error {
	if got := d.book.Holders(store.ID(name)); !slices.Equal(got, want) {
		return fmt.Errorf("held by %v, want %v", got, want)
	}
	return nil
}

// makeExport does what an agent does whose configuration has got a static export.
func makeExport(d *disk, name string) error {
	return configureExports(d, name, config.StaticExport{Name: name, Path: name, Bytes: mib, Squash: config.SquashRoot})
}

// configureExports is about the export of that name.
func configureExports(d *disk, name string, all ...config.StaticExport) error {
	text, err := config.Exports{Exports: all}.Marshal()
	file := filepath.Join(os.TempDir(), name+".yaml")
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		return err
	}
	k := &exports.Keeper{File: file, Store: d.Store, Filesystem: d.fs, Engine: d.Engine, Access: d.book, Log: logr.Discard()}
	k.Look()
	if problems := k.Warnings(); len(problems) > 0 {
		return errors.New(strings.Join(problems, "; "))
	}
	return os.Remove(file)
}

func killables() []killable {
	nothing := func(*disk, string) error { return nil }
	kept := func(onDelete store.OnDelete) func(*disk, string) error {
		return func(d *disk, name string) error { return makeVolume(d, name, onDelete) }
	}
	deleted := func(onDelete store.OnDelete) func(*disk, string) error {
		return func(d *disk, name string) error {
			return errors.Join(makeVolume(d, name, onDelete), deleteVolume(d, name))
		}
	}
	reattach := func(d *disk, name string) error { return d.Reattach(context.Background(), store.ID(name)) }
	back := func(d *disk, name string) error {
		return errors.Join(inService(d, name), holds(d.Store.VolumeDir(store.ID(name)), name))
	}
	copied := func(d *disk, name string) error {
		return errors.Join(inService(d, name), holds(d.Store.VolumeDir(store.ID(name)), witness))
	}
	return []killable{
		{"create", nothing, func(d *disk, name string) error {
			_, err := d.Create(context.Background(), volumeRequest(name, store.OnDeleteDelete))
			return err
		}, inService},
		{"clone", nothing, func(d *disk, name string) error {
			r := volumeRequest(name, store.OnDeleteDelete)
			r.SourceVolume, r.Spec.Mode, r.Spec.GID = store.ID(witness), 0o2770, 1000
			return patiently(func() error { _, err := d.Create(context.Background(), r); return err })
		}, copied},
		{"restore", func(d *disk, _ string) error { return takeSnapshot(d, witness+"-snapshot") }, func(d *disk, name string) error {
			r := volumeRequest(name, store.OnDeleteDelete)
			r.SourceSnapshot = store.ID(witness + "-snapshot")
			return patiently(func() error { _, err := d.Create(context.Background(), r); return err })
		}, copied},
		{"delete", kept(store.OnDeleteDelete), deleteVolume, gone},
		{"archive", kept(store.OnDeleteArchive), deleteVolume, func(d *disk, name string) error {
			archived, err := filepath.Glob(filepath.Join(d.Store.Archive(), store.ID(name)+".*[0-9]"))
			if err != nil || len(archived) != 1 {
				return fmt.Errorf("archive has %v, %w", archived, err)
			}
			_, err = os.Stat(archived[0] + ".json")
			return errors.Join(gone(d, name), holds(archived[0], name), err)
		}},
		{"retain", kept(store.OnDeleteRetain), deleteVolume, func(d *disk, name string) error {
			v, _ := d.Store.Volume(store.ID(name))
			if v.State != store.StateRetained {
				return fmt.Errorf("state %q", v.State)
			}
			return holds(d.Store.VolumeDir(v.ID), name)
		}},
		{"expand", kept(store.OnDeleteDelete), func(d *disk, name string) error {
			_, err := d.Expand(store.ID(name), 8*mib, 0)
			return err
		}, func(d *disk, name string) error {
			if v, _ := d.Store.Volume(store.ID(name)); v.Spec.Bytes != 8*mib {
				return fmt.Errorf("size %d", v.Spec.Bytes)
			}
			return inService(d, name)
		}},
		{"modify", kept(store.OnDeleteDelete), func(d *disk, name string) error {
			squash, inodes := store.SquashAll, manyInodes
			_, err := d.Modify(context.Background(), store.ID(name), engine.Change{Squash: &squash, Inodes: &inodes})
			return err
		}, func(d *disk, name string) error {
			v, _ := d.Store.Volume(store.ID(name))
			q, err := d.fs.Quota(v.ProjectID)
			if err == nil && (v.Spec.Squash != store.SquashAll || q.LimitInodes != manyInodes) {
				err = fmt.Errorf("squash %s, quota %+v", v.Spec.Squash, q)
			}
			return err
		}},
		{"confirm", kept(store.OnDeleteDelete), func(d *disk, name string) error { return d.Confirm(store.ID(name)) }, func(d *disk, name string) error {
			if v, _ := d.Store.Volume(store.ID(name)); v.Provisional {
				return errors.New("the volume is provisional")
			}
			return inService(d, name)
		}},
		{"set group", kept(store.OnDeleteDelete), func(d *disk, name string) error {
			return patiently(func() error { return d.SetGroup(context.Background(), store.ID(name), otherGroup) })
		}, func(d *disk, name string) error {
			dir := d.Store.VolumeDir(store.ID(name))
			var st unix.Stat_t
			err := unix.Stat(filepath.Join(dir, "file"), &st)
			if err == nil && (st.Gid != otherGroup || st.Mode&0o060 != 0o060) {
				err = fmt.Errorf("group %d, mode %o", st.Gid, st.Mode)
			}
			done, hasErr := d.fs.HasGroup(dir, otherGroup)
			if !done {
				err = errors.Join(err, errors.New("the root has another group"))
			}
			return errors.Join(err, hasErr)
		}},
		{"export", nothing, makeExport, func(d *disk, name string) error {
			x, ok := d.Store.Export(name)
			q, err := d.fs.Quota(x.ProjectID)
			var st unix.Stat_t
			err = errors.Join(err, unix.Stat(filepath.Join(d.Store.StaticRoot(), name), &st))
			if err == nil && (!ok || q.LimitBytes != x.Bytes || x.Bytes == 0 || st.Mode&0o7777 != 0o777) {
				err = fmt.Errorf("record %+v, quota %+v, mode %o", x, q, st.Mode)
			}
			return err
		}},
		{"export removed", makeExport, func(d *disk, name string) error { return configureExports(d, name) }, func(d *disk, name string) error {
			x, ok := d.Store.Export(name)
			if !ok || x.Bytes != 0 {
				return fmt.Errorf("record %+v", x)
			}
			_, err := os.Stat(filepath.Join(d.Store.StaticRoot(), name)) // its data stay
			return err
		}},
		{"sweep", kept(store.OnDeleteDelete), func(d *disk, name string) error {
			return d.DeleteProvisional(context.Background(), store.ID(name), 0)
		}, gone},
		{"snapshot", nothing, takeSnapshot, func(d *disk, name string) error {
			return holds(d.Store.SnapshotDir(store.ID(name)), witness)
		}},
		{"delete snapshot", takeSnapshot, func(d *disk, name string) error { return d.DeleteSnapshot(context.Background(), store.ID(name)) }, noSnapshot},
		{"bring back retained", deleted(store.OnDeleteRetain), reattach, back},
		{"bring back archived", deleted(store.OnDeleteArchive), reattach, back},
		{"open access", kept(store.OnDeleteDelete), openAccess, func(d *disk, name string) error { return heldBy(d, name, killedNode) }},
		{"take over", func(d *disk, name string) error {
			return errors.Join(makeVolume(d, name, store.OnDeleteDelete), openFrom(d, "node-former", name))
		}, openAccess, func(d *disk, name string) error { return heldBy(d, name, killedNode) }},
		{"close access", func(d *disk, name string) error {
			return errors.Join(makeVolume(d, name, store.OnDeleteDelete), openAccess(d, name))
		}, func(d *disk, name string) error {
			_, err := d.book.Announce(callerOf(killedNode), access.Announcement{Generation: 2, Client: access.Client{BootID: "boot"}})
			return err
		}, func(d *disk, name string) error { return heldBy(d, name) }},
		{"node gone", func(d *disk, name string) error {
			_, err := d.book.SetGone(killedNode, false, false)
			return errors.Join(err, makeVolume(d, name, store.OnDeleteDelete), openAccess(d, name))
		}, func(d *disk, _ string) error {
			_, err := d.book.SetGone(killedNode, true, false)
			return err
		}, func(d *disk, name string) error {
			if refused := d.book.Gone(); !slices.Contains(refused, killedNode) {
				return fmt.Errorf("refused are %v", refused)
			}
			return heldBy(d, name)
		}},
		// The start itself, with creations and a delete that were cut off.
		{"start", func(d *disk, name string) error {
			id, err := d.Store.NewProjectID()
			return errors.Join(cutOff(d, name+"-new", store.StateCreating), cutOff(d, name+"-old", store.StateDeleting), err,
				d.Store.PutSnapshot(store.Snapshot{
					ID: store.ID(name), Name: name, SourceVolume: store.ID(witness), Bytes: 4 * mib, ProjectID: id,
					State: store.StateCreating, Consistency: store.PerFile,
				}))
		}, nothing, func(d *disk, name string) error {
			return errors.Join(gone(d, name+"-new"), gone(d, name+"-old"), noSnapshot(d, name))
		}},
	}
}

func noSnapshot(d *disk, name string) error {
	if s, ok := d.Store.Snapshot(store.ID(name)); ok {
		return fmt.Errorf("there is a record: %+v", s)
	}
	return nil
}

// cutOff leaves a volume in a state that does not last.
func cutOff(d *disk, name string, state store.State) error {
	if err := makeVolume(d, name, store.OnDeleteDelete); err != nil {
		return err
	}
	v, _ := d.Store.Volume(store.ID(name))
	if state == store.StateCreating {
		if err := d.Store.RemoveVolume(v.ID); err != nil {
			return err
		}
	}
	v.State = state
	return d.Store.PutVolume(v)
}

// operate makes the test program the one that is killed, if it is asked to be.
func operate() bool {
	spec := os.Getenv(operationVariable)
	if spec == "" {
		return false
	}
	if err := killed(spec); err != nil {
		fmt.Fprintln(os.Stderr, "operation:", err)
		os.Exit(1)
	}
	return true
}

// killed is the program that is killed: it opens the disk and does one operation.
func killed(spec string) error {
	parts := strings.SplitN(spec, " ", 3)
	dir, object, operation := parts[0], parts[1], parts[2]
	for _, k := range killables() {
		if k.name != operation {
			continue
		}
		if operation == "start" {
			mark()
		}
		d, err := openDisk(dir, logr.Discard())
		if err != nil {
			return err
		}
		if operation != "start" {
			mark()
		}
		if err := k.do(d, object); err != nil {
			return err
		}
		if operation != "start" { // which answers nobody
			if err := json.NewEncoder(os.Stdout).Encode(recordsOf(d, object)); err != nil {
				return err
			}
		}
		return workEnds(d)
	}
	return fmt.Errorf("no operation %q", operation)
}

// workEnds waits for what is done behind an answer, so that it is killed, too.
func workEnds(d *disk) error {
	for {
		left, err := d.Store.ListTrash()
		copying := slices.ContainsFunc(d.Store.Snapshots(), func(s store.Snapshot) bool { return s.State == store.StateCreating })
		if err != nil || len(left) == 0 && !copying {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// records are what the disk holds of an object: the answer of calls.
type records struct {
	Volume   store.Volume
	Snapshot store.Snapshot
}

func recordsOf(d *disk, object string) (r records) {
	r.Volume, _ = d.Store.Volume(store.ID(object))
	r.Snapshot, _ = d.Store.Snapshot(store.ID(object))
	return r
}

// TestKilledBeforeEverySystemCall kills an agent before every system call that changes the disk, of every operation. The next one must
// find a disk without left-overs, and the operation repeated must end as if nothing had happened.
func TestKilledBeforeEverySystemCall(t *testing.T) {
	dir := bareDisk(t, host.DiskLarge)
	d, err := openDisk(dir, logr.Discard())
	if err == nil {
		err = errors.Join(makeWitness(d), d.close())
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range killables() {
		t.Run(k.name, func(t *testing.T) {
			begin := time.Now()
			prepare(t, dir, k)
			for at := 1; ; at++ {
				if !killOnce(t, dir, k, &tracer{killAt: at}) {
					if at == 1 {
						t.Fatal("no system call was counted: the tracer does not work here")
					}
					t.Logf("killed before each of %d system calls, in %s", at-1, time.Since(begin).Round(time.Millisecond))
					return
				}
				if t.Failed() {
					t.Fatalf("killed before system call %d", at)
				}
			}
		})
	}
}

// makeWitness makes the volume that is copied: something of everything, but not much.
func makeWitness(d *disk) error {
	if err := makeVolume(d, witness, store.OnDeleteDelete); err != nil {
		return err
	}
	in := func(name string) string { return filepath.Join(d.Store.VolumeDir(store.ID(witness)), name) }
	return errors.Join(
		os.Mkdir(in("dir"), 0o751),
		os.Link(in("file"), in("dir/second")),
		os.Symlink("../..", in("dir/link")),
		unix.Mkfifo(in("pipe"), 0o600),
		unix.Setxattr(in("file"), "user.colour", []byte("blue"), 0),
		os.Chown(in("dir"), 1000, 1000),
	)
}

// objectName is what is killed at a system call works on.
func objectName(k killable, at int) string {
	return fmt.Sprintf("%s-%d", strings.ReplaceAll(k.name, " ", "-"), at)
}

func prepare(t *testing.T, dir string, k killable) {
	t.Helper()
	d, err := openDisk(dir, logr.Discard())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(k.prepare(d, objectName(k, 1)), d.close()); err != nil {
		t.Fatalf("prepare: %v", err)
	}
}

// killOnce kills the operation on its object, looks at what is left, repeats it, and prepares the next object.
func killOnce(t *testing.T, dir string, k killable, tr *tracer) (wasKilled bool) {
	t.Helper()
	object := objectName(k, tr.killAt)
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), operationVariable+"="+dir+" "+object+" "+k.name)
	var answer bytes.Buffer
	cmd.Stdout, cmd.Stderr = &answer, os.Stderr
	wasKilled = tr.run(t, cmd)

	d, err := openDisk(dir, logr.Discard())
	if err != nil {
		t.Fatalf("open the disk again: %v", err)
	}
	noOrphans(t, d)
	if text := answer.Bytes(); len(text) > 0 {
		var acknowledged records
		if err := json.Unmarshal(text, &acknowledged); err != nil || acknowledged != recordsOf(d, object) {
			t.Errorf("acknowledged %+v (%v), and now it is %+v", acknowledged, err, recordsOf(d, object))
		}
	}
	var first records
	for i := range 2 {
		if err := k.do(d, object); err != nil {
			t.Errorf("repeat: %v", err)
		}
		if err := k.check(d, object); err != nil {
			t.Errorf("after repeating: %v", err)
		}
		switch now := recordsOf(d, object); {
		case i == 0:
			first = now
		case now != first:
			t.Errorf("repeated, it is %+v, was %+v", now, first)
		}
	}
	noOrphans(t, d)
	if err := holds(d.Store.VolumeDir(store.ID(witness)), witness); err != nil {
		t.Errorf("another volume: %v", err)
	}
	if err := errors.Join(tidy(d, object), k.prepare(d, objectName(k, tr.killAt+1)), d.close()); err != nil {
		t.Errorf("prepare the next: %v", err)
	}
	return wasKilled
}

// tidy removes what was made for one kill, so that the next start is as fast.
func tidy(d *disk, object string) error {
	return errors.Join(deleteVolume(d, object), d.DeleteSnapshot(context.Background(), store.ID(object)))
}
