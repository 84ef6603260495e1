//go:build vm && long

package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/test/agent/nas"
)

// TestExternalAgentIsKilled kills the agent in the midst of creates and deletes, and then compares what is there with what was said.
func TestExternalAgentIsKilled(t *testing.T) {
	h, n := external(t, nas.Options{})
	dir, path := n.MakeDir(t, "share", 0o755)
	configured := h.External(shareAt(path))
	a := h.Start(t, configured)
	a.WaitServing(t)
	const rounds = 20
	acknowledged, unsure := map[string]bool{}, map[string]bool{}
	for round := range rounds {
		c := h.Controller(t)
		made := make(chan string)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer close(made)
			for i := range 1000 {
				name := fmt.Sprintf("round-%d-%d", round, i)
				v, err := c.CreateVolume(ctx, &agentv1.CreateVolumeRequest{Name: name, Spec: spec(mib)})
				if err != nil {
					return
				}
				made <- name
				if i%3 == 0 {
					made <- "?" + name
					if _, err := c.DeleteVolume(ctx, &agentv1.DeleteVolumeRequest{Id: v.GetId()}); err != nil {
						return
					}
					made <- "-" + name
				}
			}
		}()
		killed := make(chan struct{})
		number := 0
		for name := range made {
			switch name[0] {
			case '?': // a delete begins
				unsure[name[1:]] = true
			case '-':
				delete(acknowledged, name[1:])
				delete(unsure, name[1:])
			default:
				acknowledged[name] = true
			}
			if number++; number == 3+round {
				go func() {
					a.Kill()
					cancel() // a call that begins now would wait for the next agent
					close(killed)
				}()
			}
		}
		<-killed
		cancel()
		a = h.Start(t, configured)
		a.WaitServing(t)
	}
	list, err := h.Controller(t).ListVolumes(within(t, 60*time.Second), &agentv1.ListVolumesRequest{})
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, v := range list.GetVolumes() {
		there[v.GetName()] = true
		if _, err := os.Stat(filepath.Join(dir, "volumes", v.GetId())); err != nil {
			t.Errorf("a volume without its directory: %v", err)
		}
	}
	for name := range acknowledged {
		if !there[name] && !unsure[name] {
			t.Errorf("volume %s is lost", name)
		}
	}
	for name := range there {
		if !acknowledged[name] {
			create(t, h.Controller(t), name, mib) // its answer was lost: it is found
		}
	}
	directories, err := os.ReadDir(filepath.Join(dir, "volumes"))
	if err != nil || len(directories) != len(list.GetVolumes()) {
		t.Errorf("%d directories, %d volumes, %v", len(directories), len(list.GetVolumes()), err)
	}
	t.Logf("%d volumes acknowledged in %d rounds", len(acknowledged), rounds)
}
