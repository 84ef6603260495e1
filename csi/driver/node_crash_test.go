package driver

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

// killed runs a call that ends where a hook calls runtime.Goexit: nothing that would follow in the process happens, as
// if it had been killed there. It reports whether the call was cut off.
func killed(call func()) bool {
	done := make(chan bool)
	go func() {
		cut := true
		defer func() { done <- cut }()
		call()
		cut = false
	}()
	return <-done
}

// The plugin is killed before and after each change that it makes to the node, and once the agent has answered; then
// another process starts, and the same call, or the opposite one, repairs what was half done.
func TestKilledAtEachStep(t *testing.T) {
	type call struct {
		name  string
		first func(*testing.T, *fixture, claim) // what comes before, not cut off
		do    func(*testing.T, *fixture, claim) error
	}
	calls := []call{
		{"stage", func(*testing.T, *fixture, claim) {}, func(t *testing.T, f *fixture, c claim) error { t.Helper(); return f.stage(t, c) }},
		{
			"publish", func(t *testing.T, f *fixture, c claim) { t.Helper(); must(t, f.stage(t, c)) },
			func(t *testing.T, f *fixture, c claim) error { t.Helper(); return f.publish(t, c, c.target, true) },
		},
		{
			"unpublish", func(t *testing.T, f *fixture, c claim) {
				t.Helper()
				must(t, f.stage(t, c), f.publish(t, c, c.target, true))
			},
			func(t *testing.T, f *fixture, c claim) error { t.Helper(); return f.unpublish(t, c, c.target) },
		},
		{
			"unstage", func(t *testing.T, f *fixture, c claim) { t.Helper(); must(t, f.stage(t, c)) },
			func(t *testing.T, f *fixture, c claim) error { t.Helper(); return f.unstage(t, c) },
		},
	}
	points := map[string]func(*fixture){
		"before the change": func(f *fixture) {
			f.mounts.Before(func(context.Context, string, string) error { runtime.Goexit(); return nil })
		},
		"after the change": func(f *fixture) { f.mounts.After(func(string, string) { runtime.Goexit() }) },
	}
	for _, c := range calls {
		for point, set := range points {
			for _, next := range []string{"repeated", "undone"} {
				for _, boot := range []string{"boot", "another boot"} {
					t.Run(c.name+" "+point+", "+next+" after "+boot, func(t *testing.T) {
						f := newFixture(t)
						v := f.claim(t, "a", rwo)
						c.first(t, f, v)
						set(f)
						if !killed(func() { _ = c.do(t, f, v) }) {
							t.Fatal("not cut off")
						}
						f.mounts.Before(nil)
						f.mounts.After(nil)
						if boot != "boot" {
							f.loseMounts(t, v)
						}
						f.startNode(t, boot)
						if next == "repeated" {
							f.repeat(t, v, c.name)
						}
						f.wantUndone(t, v)
					})
				}
			}
		}
	}
}

// loseMounts is what a power failure does.
func (f *fixture) loseMounts(t *testing.T, c claim) {
	t.Helper()
	for _, target := range []string{c.target, c.staging} {
		if _, ok := f.mounted(t, target); ok {
			must(t, f.mounts.Unmount(t.Context(), target))
		}
	}
}

// repeat does what the kubelet does after a restart: it stages before it publishes, and unpublishes before it unstages.
func (f *fixture) repeat(t *testing.T, c claim, name string) {
	t.Helper()
	switch name {
	case "stage":
		must(t, f.stage(t, c))
	case "publish":
		must(t, f.stage(t, c), f.publish(t, c, c.target, true))
		if m, ok := f.mounted(t, c.target); !ok || !m.ReadOnly() {
			t.Errorf("published as %+v, %v", m, ok)
		}
	case "unpublish":
		must(t, f.unpublish(t, c, c.target))
	case "unstage":
		must(t, f.unstage(t, c))
	}
	if _, ok := f.mounted(t, c.staging); ok {
		eventually(t, "access open", func() bool { return f.agents[0].Grant(c.id) != nil })
	}
}

// wantUndone unpublishes and unstages, and wants nothing to be left of the volume, on the node and at the agent.
func (f *fixture) wantUndone(t *testing.T, c claim) {
	t.Helper()
	must(t, f.unpublish(t, c, c.target), f.unstage(t, c))
	if mounts, _ := f.mounts.Mounts(); len(mounts) > 0 {
		t.Errorf("left mounted: %v", mounts)
	}
	if _, err := os.Lstat(c.target); !os.IsNotExist(err) {
		t.Errorf("the target path is still there: %v", err)
	}
	if left := f.state.Volumes(); len(left) > 0 {
		t.Errorf("left in the state: %v", left)
	}
	eventually(t, "access closed", func() bool { return len(f.agents[0].Granted()) == 0 })
}

// Where the state is lost while pods run, their volumes are found again before anything is announced.
func TestLostStateDoesNotCloseWhatPodsUse(t *testing.T) {
	f := newFixture(t)
	c := f.claim(t, "a", rwo)
	must(t, os.MkdirAll(c.staging, 0o750), f.stage(t, c))
	f.note(t, c)
	must(t, os.RemoveAll(f.dir))
	heard := len(f.agents[0].Announcements())
	f.startNode(t, "boot")
	eventually(t, "announced", func() bool { return len(f.agents[0].Announcements()) > heard })
	for _, a := range f.agents[0].Announcements()[heard:] {
		if len(a.GetGrants()) == 0 {
			t.Error("the volume was not announced")
		}
	}
	if f.agents[0].Grant(c.id) == nil {
		t.Fatal("the access is closed")
	}
	// The next stage knows the access mode again.
	must(t, f.stage(t, c))
	eventually(t, "access mode known", func() bool { return f.agents[0].Grant(c.id).GetSingleNode() })
	if v, _ := f.state.Get(c.handle); v.Recovered {
		t.Errorf("state is %+v", v)
	}
	must(t, f.unstage(t, c))
}

// note writes down what the kubelet writes beside a staging path.
func (*fixture) note(t *testing.T, c claim) {
	t.Helper()
	text := fmt.Sprintf(`{"driverName":%q,"volumeHandle":%q}`, names.Driver, c.handle)
	must(t, os.WriteFile(filepath.Join(filepath.Dir(c.staging), "vol_data.json"), []byte(text), 0o600))
}
