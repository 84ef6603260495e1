package engine

import (
	"fmt"
	"sync"
)

// locks keep operations on the same object apart: who comes second is told to come again. A key is held by one holder alone or by
// several that share it.
type locks struct {
	mu   sync.Mutex
	held map[string]int // how many share it; alone: -1
}

const alone = -1

// acquire takes a key alone.
func (l *locks) acquire(key string) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] != 0 {
		return nil, false
	}
	l.held[key] = alone
	return func() { l.add(key, -alone) }, true
}

// share takes a key together with others that share it.
func (l *locks) share(key string) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] == alone {
		return nil, false
	}
	l.held[key]++
	return func() { l.add(key, -1) }, true
}

func (l *locks) add(key string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held[key] += n; l.held[key] == 0 {
		delete(l.held, key)
	}
}

// Operations on an object exclude each other; and as long as its tree is copied it must stay in its place, while the volume may well
// be grown or opened.
func volumeKey(id string) string      { return "volume " + id }
func snapshotKey(id string) string    { return "snapshot " + id }
func treeKey(directory string) string { return "tree " + directory }

// lockVolume takes a volume alone. Without waiting: whoever is second comes again (ErrBusy).
func (e *Engine) lockVolume(id string) (release func(), err error) {
	release, ok := e.locks.acquire(volumeKey(id))
	if !ok {
		return nil, fmt.Errorf("%w on volume %s", ErrBusy, id)
	}
	return release, nil
}
