package ganesha

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/godbus/dbus/v5"
)

// fakeSource exports what is in the map.
type fakeSource struct {
	mu  sync.Mutex
	all map[string]Export
}

func (s *fakeSource) Exports() []Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Export
	for _, e := range s.all {
		all = append(all, e)
	}
	return all
}

func (s *fakeSource) Export(name string) (Export, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e, ok := s.all[name]
	return e, ok
}

func (s *fakeSource) set(name string, e *Export) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e == nil {
		delete(s.all, name)
		return
	}
	s.all[name] = *e
}

// fakeBus is a Ganesha: it keeps exports by id and fails as the real one does.
type fakeBus struct {
	mu      sync.Mutex
	exports map[uint16]string
	calls   int
	takes   time.Duration // each call
	fail    error
}

func (b *fakeBus) do(change func() error) error {
	<-time.After(b.takes) // not under the lock: whoever waits for that keeps a bubble's time from going on
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	if b.fail != nil {
		return b.fail
	}
	return change()
}

func (b *fakeBus) add(_ context.Context, id uint16, text string) error {
	return b.do(func() error {
		if _, there := b.exports[id]; there {
			return errors.New("added twice")
		}
		b.exports[id] = text
		return nil
	})
}

func (b *fakeBus) update(_ context.Context, id uint16, text string) error {
	return b.do(func() error {
		if _, there := b.exports[id]; !there {
			return errors.New("updated what is not there")
		}
		b.exports[id] = text
		return nil
	})
}

func (b *fakeBus) remove(_ context.Context, id uint16) error {
	return b.do(func() error { delete(b.exports, id); return nil })
}

func (b *fakeBus) setFail(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.fail = err
}

func newTestExporter(t *testing.T, names ...string) (*exporter, *fakeSource, *fakeBus) {
	t.Helper()
	source := &fakeSource{all: map[string]Export{}}
	for i, name := range names {
		e := testExport()
		e.Name, e.ID = name, uint16(i+1)
		source.set(name, &e)
	}
	x := newExporter(testConfig, source)
	if _, err := x.startFile(); err != nil {
		t.Fatal(err)
	}
	bus := &fakeBus{exports: map[uint16]string{}}
	for _, r := range x.known {
		bus.exports[r.id] = r.text
	}
	return x, source, bus
}

// served lets an exporter work until the test's bubble ends.
func served(t *testing.T, x *exporter, bus *fakeBus) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go func() { _ = x.serve(ctx, bus) }()
	synctest.Wait()
	return ctx
}

func TestExportsFollowTheSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a", "b")
		ctx := served(t, x, bus)

		fresh, updated := testExport(), source.all["a"]
		fresh.Name, fresh.ID = "c", 3
		updated.Clients = []Client{{Addresses: addresses("10.0.0.1")}}
		source.set("a", &updated)
		source.set("b", nil)
		source.set("c", &fresh)
		for range 2 { // the second time there is nothing to do
			if err := x.sync(ctx, "a", "b", "c", "never was"); err != nil {
				t.Fatal(err)
			}
		}
		if bus.calls != 3 || len(bus.exports) != 2 || !strings.Contains(bus.exports[1], "10.0.0.1") || bus.exports[3] == "" {
			t.Errorf("%d calls, exports %v", bus.calls, bus.exports)
		}
	})
}

// TestManyChangesOfOneExportAreToldAtOnce: a thousand nodes that open one volume must not cost a thousand lists of a thousand clients.
func TestManyChangesOfOneExportAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a")
		ctx := served(t, x, bus)
		bus.takes = time.Second
		var all sync.WaitGroup
		for i := range 100 {
			all.Go(func() {
				<-time.After(time.Duration(i) * time.Millisecond)
				changed, _ := source.Export("a")
				changed.Clients = []Client{{Addresses: addresses(fmt.Sprintf("10.0.0.%d", i))}}
				source.set("a", &changed)
				if err := x.sync(ctx, "a"); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		if bus.calls != 2 || !strings.Contains(bus.exports[1], "10.0.0.99") {
			t.Errorf("%d calls, export %s", bus.calls, bus.exports[1])
		}
	})
}

// TestOneExportThatChangesAllTheTimeHoldsUpNoOther: another waits for the call that is being made, for one that is in front of it, and for its
// own.
func TestOneExportThatChangesAllTheTimeHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "busy", "other")
		ctx := served(t, x, bus)
		bus.takes = time.Second
		change := func(name string, i int) error {
			changed, _ := source.Export(name)
			changed.Clients = []Client{{Addresses: addresses(fmt.Sprintf("10.0.0.%d", i))}}
			source.set(name, &changed)
			return x.sync(ctx, name)
		}
		var all sync.WaitGroup
		for i := range 250 {
			all.Go(func() {
				<-time.After(time.Duration(i) * 100 * time.Millisecond)
				if err := change("busy", i); err != nil {
					t.Error(err)
				}
			})
		}
		for i := range 20 {
			<-time.After(10 * time.Millisecond)
			begin := time.Now()
			if err := change("other", i); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took > 3*time.Second {
				t.Errorf("another export waited %s for its turn", took)
			}
		}
		all.Wait()
	})
}

func TestAnExportWithANewIDReplacesTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a")
		ctx := served(t, x, bus)
		again := source.all["a"]
		again.ID = 9
		source.set("a", &again)
		if err := x.sync(ctx, "a"); err != nil {
			t.Fatal(err)
		}
		if len(bus.exports) != 1 || bus.exports[9] == "" {
			t.Errorf("exports %v", bus.exports)
		}
	})
}

// An update would leave what clients hold of it.
func TestAnExportOfAnotherEpochReplacesTheOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a")
		ctx := served(t, x, bus)
		again := source.all["a"]
		again.Epoch++
		source.set("a", &again)
		for range 2 {
			if err := x.sync(ctx, "a"); err != nil {
				t.Fatal(err)
			}
		}
		if bus.calls != 2 || len(bus.exports) != 1 { // a removal and an addition
			t.Errorf("%d calls; exports %v", bus.calls, bus.exports)
		}
	})
}

func TestARefusalIsToldAndTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a")
		ctx := served(t, x, bus)
		source.set("a", nil)
		bus.setFail(dbus.Error{Name: "org.freedesktop.DBus.Error.InvalidArgs"})
		if err := x.sync(ctx, "a"); err == nil {
			t.Error("no error")
		}
		bus.setFail(nil)
		<-time.After(retryRefused)
		synctest.Wait()
		if len(bus.exports) != 0 {
			t.Errorf("exports %v", maps.Clone(bus.exports))
		}
	})
}

// TestARefusalIsTriedAgainWhileOthersChangeAllTheTime: there need be no moment when nothing is to be told.
func TestARefusalIsTriedAgainWhileOthersChangeAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a", "b", "c")
		ctx := served(t, x, bus)
		bus.takes = time.Second
		bus.setFail(dbus.Error{Name: "org.freedesktop.DBus.Error.InvalidArgs"})
		changing, stop := context.WithCancel(ctx)
		var changers sync.WaitGroup
		for _, name := range []string{"b", "c"} { // each has its turn queued while the other is told
			changers.Go(func() {
				for i := 0; changing.Err() == nil; i++ {
					changed, _ := source.Export(name)
					changed.Clients = []Client{{Addresses: addresses(fmt.Sprintf("10.0.%d.%d", i/256, i%256))}}
					source.set(name, &changed)
					_ = x.sync(ctx, name)
				}
			})
		}
		source.set("a", nil)
		if err := x.sync(ctx, "a"); err == nil {
			t.Error("no error")
		}
		bus.setFail(nil)
		<-time.After(2 * retryRefused)
		bus.mu.Lock()
		if _, there := bus.exports[1]; there || len(bus.exports) != 2 {
			t.Errorf("exports %v", bus.exports)
		}
		bus.mu.Unlock()
		stop()
		changers.Wait()
	})
}

func TestALostConnectionEndsTheWorkAndNothingIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x, source, bus := newTestExporter(t, "a")
		ended := make(chan error, 1)
		go func() { ended <- x.serve(t.Context(), bus) }()
		synctest.Wait()
		source.set("a", nil)
		bus.setFail(errors.New("connection reset"))
		if err := x.sync(t.Context(), "a"); err == nil {
			t.Error("no error")
		}
		if err := <-ended; err == nil {
			t.Error("serve did not end")
		}
		if err := x.sync(t.Context(), "a"); !errors.Is(err, ErrNotServing) {
			t.Errorf("error %v while nothing serves", err)
		}
		bus.setFail(nil)
		served(t, x, bus)
		if len(bus.exports) != 0 {
			t.Errorf("exports %v", bus.exports)
		}
	})
}
