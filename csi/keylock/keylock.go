// Package keylock is a set of locks that are never waited for: CSI answers a second call on the same volume with
// ABORTED, and the caller repeats it.
package keylock

import "sync"

// Set is a set of held keys. Its zero value is ready for use.
type Set struct {
	mu   sync.Mutex
	held map[string]struct{}
}

// TryAcquire takes a key, or reports false when somebody holds it.
func (s *Set) TryAcquire(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, busy := s.held[key]; busy {
		return false
	}
	if s.held == nil {
		s.held = make(map[string]struct{})
	}
	s.held[key] = struct{}{}
	return true
}

// Release gives a key back.
func (s *Set) Release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.held, key)
}
