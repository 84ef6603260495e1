package engine

import (
	"errors"
	"sync"
	"time"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// surveyPatience is how long a survey waits for the disk; the manager waits 5 s for its answer.
const surveyPatience = 2 * time.Second

// ErrNoAnswer is returned when the disk does not answer, and nobody can say that it holds anything.
var ErrNoAnswer = errors.New("the disk does not answer, and nobody can say what it holds: look at the log of the node's kernel (dmesg)")

// Survey is what the disk holds and what its capacity is.
type Survey struct {
	Holdings Holdings
	Capacity Capacity
	// CapacityErr is why there is no capacity.
	CapacityErr error
	// Old is true when the disk has not answered in time: all but the volumes in service and the snapshots is as it was last.
	Old bool
}

// surveys looks at the disk for those who ask, one look at a time, so that a disk that hangs holds up one thread and nobody who asks.
type surveys struct {
	turn chan struct{} // taken by the one that looks
	mu   sync.Mutex
	last Survey
}

func newSurveys() surveys {
	return surveys{turn: make(chan struct{}, 1), last: Survey{CapacityErr: ErrNoAnswer}}
}

// Survey looks at the disk, for 2 s at most. Where that is not enough, what was found last is returned; but never that the
// disk holds nothing (ErrNoAnswer), for it may be deleted then.
func (e *Engine) Survey() (Survey, error) {
	timeout := time.After(surveyPatience)
	select {
	case e.surveys.turn <- struct{}{}: // who has waited for another's look begins a new one: that one may have missed what is there since
	case <-timeout:
		return e.lastSurvey()
	}
	type answer struct {
		Survey
		err error
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-e.surveys.turn }()
		s, err := e.look()
		answers <- answer{s, err}
	}()
	select {
	case a := <-answers:
		return a.Survey, a.err
	case <-timeout:
		return e.lastSurvey()
	}
}

func (e *Engine) look() (s Survey, err error) {
	if s.Holdings, err = e.Holdings(); err != nil {
		return Survey{}, err
	}
	s.Capacity, s.CapacityErr = e.Capacity()
	e.surveys.mu.Lock()
	defer e.surveys.mu.Unlock()
	e.surveys.last = s
	return s, nil
}

func (e *Engine) lastSurvey() (Survey, error) {
	e.surveys.mu.Lock()
	s := e.surveys.last
	e.surveys.mu.Unlock()
	now := e.recorded()
	s.Holdings.Volumes, s.Holdings.Snapshots, s.Old = now.Volumes, now.Snapshots, true
	if s.Holdings == (Holdings{}) {
		return Survey{}, ErrNoAnswer
	}
	return s, nil
}

// recorded counts what has a record, without a look at the disk.
func (e *Engine) recorded() (h Holdings) {
	for _, v := range e.Store.Volumes() {
		switch v.State {
		case store.StateReady, store.StateDeleting:
			h.Volumes++
		case store.StateRetained:
			h.Archived++
		case store.StateCreating: // nobody was told of it
		}
	}
	h.Snapshots = len(e.Snapshots("", "", false))
	return h
}
