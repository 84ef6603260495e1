//go:build vm && long

package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

const (
	raceTime = time.Minute
	secret   = "what another tenant wrote"
	ownGroup = 54321
)

// TestATenantThatRacesReachesNothing has a tenant exchange directories for symbolic links to another volume, through NFS and, far
// faster, on the server, while its volume is copied, given to groups and deleted. Nothing of the other volume may be copied, changed or
// removed.
func TestATenantThatRacesReachesNothing(t *testing.T) {
	h, _ := serving(t)
	c, node := h.Controller(t), h.Node(t, "node-race")
	other := create(t, c, "pvc-other", 16*mib)
	otherDir := filepath.Join(h.DataDir(), "volumes", other.GetId())
	makeSecrets(t, otherDir)
	before := describeTree(t, otherDir)

	v := create(t, c, "pvc-race", 256*mib)
	dir := filepath.Join(h.DataDir(), "volumes", v.GetId())
	makeRacers(t, dir, other.GetId())
	mounted := h.Mount(t, open(t, node, v.GetId()))
	root, err := os.Open(dir) // so that the race goes on when the volume lies in the trash
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	var racers sync.WaitGroup
	var exchanged, renamed atomic.Int64
	server, client := make(chan struct{}), make(chan struct{})
	racers.Go(func() { exchange(int(root.Fd()), server, &exchanged) })
	throughNFS := make(chan struct{})
	go func() { defer close(throughNFS); renameThroughNFS(mounted, other.GetId(), client, &renamed) }()

	r := race{c: c, node: node, data: h.DataDir(), volume: v.GetId()}
	for end := time.Now().Add(raceTime); time.Now().Before(end) && !t.Failed(); {
		r.round(t)
	}
	close(client)
	<-throughNFS
	t.Logf("%d rounds; %d exchanges on the server, %d through NFS", r.rounds, exchanged.Load(), renamed.Load())
	if r.rounds == 0 || exchanged.Load() == 0 || renamed.Load() == 0 {
		t.Error("that was no race")
	}
	host.Unmount(mounted)
	announce(t, node, time.Now().UnixNano())
	eventually(t, time.Minute, "the volume is deleted", func() bool {
		_, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: v.GetId()})
		return err == nil
	})
	removed := exchanged.Load() + 1000
	eventually(t, time.Minute, "the race went on in the trash, or the tree is gone", func() bool {
		left, err := os.ReadDir(filepath.Join(h.DataDir(), "trash"))
		return exchanged.Load() > removed || err == nil && len(left) == 0
	})
	close(server)
	racers.Wait()
	eventually(t, 2*time.Minute, "the trash is empty", func() bool {
		wakes := create(t, c, "pvc-wakes", mib) // what could not be removed is tried again with the next
		if _, err := c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: wakes.GetId()}); err != nil {
			t.Fatal(err)
		}
		left, err := os.ReadDir(filepath.Join(h.DataDir(), "trash"))
		return err == nil && len(left) == 0
	})
	if after := describeTree(t, otherDir); after != before {
		t.Errorf("the other volume was\n%s\nand is\n%s", before, after)
	}
	if text, err := os.ReadFile(filepath.Join(otherDir, "dir", "secret")); err != nil || string(text) != secret {
		t.Errorf("its file has %q, %v", text, err)
	}
}

func makeSecrets(t *testing.T, dir string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(dir, "dir"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"secret", "dir/secret", "dir/file-0"} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, []byte(secret), 0o600), os.Chown(path, 12345, ownGroup)); err != nil {
			t.Fatal(err)
		}
	}
}

const racers, racerFiles = 8, 8

func racer(i int) string { return fmt.Sprintf("racer-%d", i) }
func lure(i int) string  { return fmt.Sprintf("lure-%d", i) }

// lures are symbolic links that lead to the other volume, from wherever a walk may take them.
func lures(other string) []string {
	return []string{"../" + other + "/dir", "../../" + other + "/dir", "/run/data/volumes/" + other + "/dir", "../../volumes/" + other}
}

func makeRacers(t *testing.T, dir, other string) {
	t.Helper()
	for i := range racers {
		if err := os.MkdirAll(filepath.Join(dir, racer(i), "below"), 0o777); err != nil {
			t.Fatal(err)
		}
		for f := range racerFiles {
			if err := os.WriteFile(filepath.Join(dir, racer(i), fmt.Sprintf("file-%d", f)), []byte("own"), 0o666); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Symlink(lures(other)[i%len(lures(other))], filepath.Join(dir, lure(i))); err != nil {
			t.Fatal(err)
		}
	}
}

// exchange has directories and links change places without a moment in which one of them is missing.
func exchange(root int, stop <-chan struct{}, n *atomic.Int64) {
	for i := 0; ; i = (i + 1) % racers {
		select {
		case <-stop:
			return
		default:
		}
		if unix.Renameat2(root, racer(i), root, lure(i), unix.RENAME_EXCHANGE) == nil {
			n.Add(1)
		}
	}
}

// renameThroughNFS does what a client can: it renames a directory away and back, with a link in its place meanwhile.
func renameThroughNFS(dir, other string, stop <-chan struct{}, n *atomic.Int64) {
	at := func(name string) string { return filepath.Join(dir, name) }
	_ = os.MkdirAll(at("client/below"), 0o777)
	_ = os.WriteFile(at("client/file-0"), []byte("own"), 0o666)
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		if os.Rename(at("client"), at("client-away")) == nil && os.Symlink(lures(other)[i%len(lures(other))], at("client")) == nil {
			n.Add(1)
		}
		_ = os.Remove(at("client"))
		_ = os.Rename(at("client-away"), at("client"))
	}
}

type race struct {
	c, node      agentv1.AgentClient
	data, volume string
	rounds       int
}

// round takes the volume through everything that walks through it. Answers that mean "again" are answers.
func (r *race) round(t *testing.T) {
	t.Helper()
	r.rounds++
	name := fmt.Sprintf("race-%d", r.rounds)
	s := snapshotReady(t, r.c, &agentv1.CreateSnapshotRequest{Name: name, SourceVolumeId: r.volume})
	hasNoSecret(t, filepath.Join(r.data, "snapshots", s.GetId()))
	clone := createFrom(t, r.c, &agentv1.CreateVolumeRequest{Name: name, Spec: spec(256 * mib), SourceVolumeId: r.volume})
	hasNoSecret(t, filepath.Join(r.data, "volumes", clone.GetId()))
	err := again(t.Context(), func() error {
		_, err := r.node.SetGroup(within(t, 60*time.Second), &agentv1.SetGroupRequest{VolumeId: r.volume, Gid: uint32(7000 + r.rounds)})
		return err
	})
	for _, do := range []func() error{
		func() error {
			_, err := r.c.DeleteSnapshot(within(t, 60*time.Second), &agentv1.DeleteSnapshotRequest{Id: s.GetId()})
			return err
		},
		func() error {
			_, err := r.c.DeleteVolume(within(t, 60*time.Second), &agentv1.DeleteVolumeRequest{Id: clone.GetId()})
			return err
		},
	} {
		err = errors.Join(err, again(t.Context(), do))
	}
	if err != nil {
		t.Errorf("round %d: %v", r.rounds, err)
	}
	if s.GetId() != store.ID(name) {
		t.Errorf("the snapshot's id is %s", s.GetId())
	}
}

// again repeats a call that is told to come again.
func again(ctx context.Context, call func() error) error {
	for {
		err := call()
		if status.Code(err) != codes.Aborted || ctx.Err() != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func hasNoSecret(t *testing.T, root string) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), secret) {
			t.Errorf("%s holds what belongs to another volume", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
