package driver

import (
	"fmt"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
)

// The kernel connects to a server once: the first volume's options hold for all. That is told, once.
func TestOptionsWithoutEffectAreTold(t *testing.T) {
	f := newFixture(t)
	first, same, other, third := f.claim(t, "a", rwx), f.claim(t, "b", rwx), f.claim(t, "c", rwx), f.claim(t, "d", rwx)
	must(t, f.stage(t, first, "nconnect=4"), f.stage(t, same, "noatime,nconnect=4"))
	if told := f.events.all(); len(told) > 0 {
		t.Errorf("told without a reason: %q", told)
	}
	must(t, f.stage(t, other, "nconnect=2"), f.stage(t, third, "nconnect=2"))
	told := f.events.all()
	if len(told) != 1 || !strings.Contains(told[0], ReasonOptions) || !strings.Contains(told[0], "nconnect=2") || !strings.Contains(told[0], first.handle) {
		t.Errorf("told %q", told)
	}
	must(t, f.unstage(t, first), f.unstage(t, same), f.unstage(t, other), f.unstage(t, third), f.stage(t, first, "nconnect=2"))
	if again := f.events.all(); len(again) != 1 {
		t.Errorf("told %q", again)
	}
}

// Another version of the protocol is another client with connections of its own.
func TestOptionsOfAnotherVersionAreNoConflict(t *testing.T) {
	f := newFixture(t)
	a, b := f.claim(t, "a", rwx), f.claim(t, "b", rwx)
	must(t, f.stage(t, a, "nconnect=4"), f.stage(t, b, "vers=4.1,nconnect=2"))
	if told := f.events.all(); len(told) > 0 {
		t.Errorf("told without a reason: %q", told)
	}
}

func TestReservedPortsAreABudget(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	options, err := mount.MakeOptions("10.0.0.9", []string{"resvport"}, []string{"nconnect=8"})
	must(t, err)
	// Many servers, each with several connections.
	for shard := range 28 {
		handle := fmt.Sprintf("large/%d/aaaaaaaaaaaaaaaa", shard)
		_, err := f.state.Begin(nodestate.Volume{Handle: handle, StagingPath: "/x", Options: options.Data})
		must(t, err)
	}
	wantCode(t, f.stage(t, c, "nconnect=8"), codes.ResourceExhausted)
	if _, known := f.state.Get(c.handle); known {
		t.Error("the refused volume is written down")
	}
	must(t, f.stage(t, c)) // one connection still fits
	must(t, f.stage(t, f.claim(t, "b", rwx), "nconnect=8"))
}

// An external server is mounted where the agent says, not where the agent is.
func TestAgentNamesTheServer(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwx)
	f.agents[0].ServeFrom("nas.example.com")
	wantCode(t, f.stage(t, c), codes.Unavailable) // the DNS of these tests knows nobody
	f.agents[0].ServeFrom("192.0.2.7")
	must(t, f.stage(t, c), f.stage(t, c), f.publish(t, c, c.target, false))
	if m, _ := f.mounted(t, c.staging); m.Source != "192.0.2.7:/"+c.id {
		t.Errorf("mounted is %q", m.Source)
	}
	if address := f.state.Address(volumeidOf(t, c).Shard); address != addressOf(0) {
		t.Errorf("the agent is remembered at %q", address)
	}
	must(t, f.unpublish(t, c, c.target), f.unstage(t, c))
}

func TestReadOnlyModeWinsOverOptions(t *testing.T) {
	f := newFixture(t)
	s, err := parseStage(stageRequest(f.claim(t, "a", rox), "rw"))
	must(t, err)
	options, err := mount.MakeOptions("10.0.0.1", nil, s.flags)
	if err != nil || options.Flags&1 == 0 {
		t.Errorf("flags %#x, %v", options.Flags, err)
	}
}
