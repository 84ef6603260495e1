package engine

import "sync"

// locks keep operations on the same object apart: the second one is told to come again.
type locks struct {
	mu   *sync.Mutex
	held map[string]bool
}

func newLocks() locks { return locks{mu: &sync.Mutex{}, held: map[string]bool{}} }

// acquire takes all keys or none.
func (l locks) acquire(keys ...string) (release func(), ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range keys {
		if l.held[key] {
			return nil, false
		}
	}
	for _, key := range keys {
		l.held[key] = true
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for _, key := range keys {
			delete(l.held, key)
		}
	}, true
}

func volumeKey(id string) string   { return "volume " + id }
func snapshotKey(id string) string { return "snapshot " + id }
