package keylock

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestOneHolderPerKey(t *testing.T) {
	var set Set
	var held, most atomic.Int32
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			if !set.TryAcquire("a") {
				return
			}
			if n := held.Add(1); n > most.Load() {
				most.Store(n)
			}
			held.Add(-1)
			set.Release("a")
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("key was held %d times at once", most.Load())
	}
}

func TestKeysAreIndependent(t *testing.T) {
	var set Set
	if !set.TryAcquire("a") || !set.TryAcquire("b") {
		t.Fatal("a free key was refused")
	}
	if set.TryAcquire("a") {
		t.Error("a held key was given")
	}
	set.Release("a")
	if !set.TryAcquire("a") {
		t.Error("a released key was refused")
	}
}
