//go:build vm

package agent

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/store"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

// graceOver is what Ganesha logs when locks can be had again, and those that were not reclaimed are lost.
const graceOver = "NOT IN GRACE"

// awaitGraceOver waits until an agent's log has said so more often than before.
func awaitGraceOver(t *testing.T, a *host.Agent, before int) {
	t.Helper()
	eventually(t, 2*time.Minute, "grace is over", func() bool { return strings.Count(a.Log(), graceOver) > before })
}

func TestOpenFilesSurviveRestarts(t *testing.T) {
	h, a := serving(t)
	v := create(t, h.Controller(t), "pvc-restart", 64*mib)
	dir := h.Mount(t, open(t, h.Node(t, "node-a"), v.GetId()))
	again := func() {
		a = h.Start(t, h.Config(host.DiskLarge))
		a.WaitServing(t)
		awaitGraceOver(t, a, 0)
	}
	for name, restart := range map[string]func(){
		"ganesha killed": func() {
			before := strings.Count(a.Log(), graceOver)
			host.KillGanesha(t)
			awaitGraceOver(t, a, before)
		},
		"agent killed": func() {
			a.Kill()
			again()
		},
		"agent stopped": func() {
			a.Stop(t)
			again()
		},
	} {
		w := startWriter(t, filepath.Join(dir, strings.ReplaceAll(name, " ", "-")))
		w.awaitMore(t)
		restart()
		w.awaitMore(t)
		t.Logf("%s: longest write %s", name, w.wantAllThere(t, name).Longest)
	}
}

// TestKilledAtRandomMoments kills the agent during creates and deletes: what was acknowledged is there, what was not is either whole
// or not there, and each call repeated gives the same answer.
func TestKilledAtRandomMoments(t *testing.T) {
	h, a := serving(t)
	c := h.Controller(t)
	known := map[string]*agentv1.Volume{} // acknowledged, by name
	for round := range 10 {
		kill := time.Duration(rand.IntN(400)) * time.Millisecond
		victim := a
		killed := make(chan struct{})
		time.AfterFunc(kill, func() { victim.Kill(); close(killed) })
		calls := makeCalls(t, c, known, round)
		<-killed
		a = h.Start(t, h.Config(host.DiskLarge))
		a.WaitServing(t)
		checkDisk(t, h, known, calls)
		for i, call := range calls {
			if !slices.ContainsFunc(calls[i+1:], func(later *operation) bool { return later.name == call.name }) {
				call.repeat(t, c, known)
			}
		}
		checkExported(t, h, known)
	}
	if len(known) == 0 {
		t.Error("no volume was ever acknowledged")
	}
}

// operation is one create or delete, and how it ended.
type operation struct {
	name   string
	delete bool
	acked  bool
	answer *agentv1.Volume
}

func (c *operation) do(ctx context.Context, client agentv1.AgentClient) (err error) {
	if c.delete {
		_, err = client.DeleteVolume(ctx, &agentv1.DeleteVolumeRequest{Id: store.ID(c.name)})
		return err
	}
	c.answer, err = client.CreateVolume(ctx, &agentv1.CreateVolumeRequest{Name: c.name, Spec: spec(4 * mib)}, grpc.WaitForReady(false))
	return err
}

// makeCalls makes up to five calls, one after the other, until one fails because the agent is gone.
func makeCalls(t *testing.T, client agentv1.AgentClient, known map[string]*agentv1.Volume, round int) []*operation {
	t.Helper()
	var calls []*operation
	for i := range 5 {
		c := &operation{name: fmt.Sprintf("pvc-%d-%d", round, i)}
		for name := range known {
			if i%2 == 1 {
				c = &operation{name: name, delete: true}
			}
			break
		}
		calls = append(calls, c)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := c.do(ctx, client)
		cancel()
		if code := status.Code(err); err != nil && code != codes.Unavailable && code != codes.DeadlineExceeded {
			t.Fatalf("%+v: %v", c, err)
		} else if err != nil {
			return calls
		}
		c.acked = true
		c.apply(known)
	}
	return calls
}

func (c *operation) apply(known map[string]*agentv1.Volume) {
	if c.delete {
		delete(known, c.name)
	} else {
		known[c.name] = c.answer
	}
}

// repeat makes the call again; what was acknowledged before must be answered in the same way.
func (c *operation) repeat(t *testing.T, client agentv1.AgentClient, known map[string]*agentv1.Volume) {
	t.Helper()
	before := c.answer
	if err := c.do(within(t, 20*time.Second), client); err != nil {
		t.Errorf("repeat %+v: %v", c, err)
		return
	}
	if c.acked && !c.delete && (c.answer.GetId() != before.GetId() || !c.answer.GetCreated().AsTime().Equal(before.GetCreated().AsTime())) {
		t.Errorf("repeated answer %v, first was %v", c.answer, before)
	}
	c.apply(known)
}

// checkDisk looks at the disk after a crash: acknowledged volumes are there, and no half-made one is.
func checkDisk(t *testing.T, h *host.Host, known map[string]*agentv1.Volume, calls []*operation) {
	t.Helper()
	open := map[string]bool{} // the call that was cut off may have gone either way
	for _, c := range calls {
		if !c.acked {
			open[store.ID(c.name)] = true
		}
	}
	there := map[string]bool{}
	entries, err := os.ReadDir(filepath.Join(h.DataDir(), "volumes"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		there[e.Name()] = true
	}
	wanted := map[string]bool{}
	for _, v := range known {
		wanted[v.GetId()] = true
		if !there[v.GetId()] && !open[v.GetId()] {
			t.Errorf("acknowledged volume %s is gone", v.GetName())
		}
	}
	for id := range there {
		if !wanted[id] && !open[id] {
			t.Errorf("directory %s is left over", id)
		}
	}
	if left, err := os.ReadDir(filepath.Join(h.DataDir(), "tmp")); err != nil || len(left) > 0 {
		t.Errorf("left in tmp: %v, %v", left, err)
	}
}

// checkExported mounts every volume, and finds or leaves a file in it.
func checkExported(t *testing.T, h *host.Host, known map[string]*agentv1.Volume) {
	t.Helper()
	node := h.Node(t, "node-a")
	for name, v := range known {
		path := filepath.Join(h.DataDir(), "volumes", v.GetId(), "data")
		text, err := os.ReadFile(path)
		if os.IsNotExist(err) {
			if err := os.WriteFile(path, []byte(name), 0o600); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err != nil || string(text) != name {
			t.Errorf("data of %s: %q, %v", name, text, err)
		}
	}
	for _, v := range known { // one mount stands for all: each costs a second
		dir, err := host.TryMount(open(t, node, v.GetId()).GetPath(), "resvport")
		if err != nil {
			t.Fatalf("mount %s: %v", v.GetName(), err)
		}
		if _, err := os.Stat(filepath.Join(dir, "data")); err != nil {
			t.Error(err)
		}
		host.Unmount(dir)
		break
	}
	announce(t, node, time.Now().UnixNano())
}
