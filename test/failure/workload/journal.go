package main

import (
	"fmt"
	"os"
	"sync"
	"time"
)

// noteworthy is the least wait that is remembered by itself.
const noteworthy = time.Second

// Gap is a time in which nothing of a kind was acknowledged.
type Gap struct {
	Begin   time.Time `json:"begin"`
	Seconds float64   `json:"seconds"`
}

// Kind is one kind of operation.
type Kind struct {
	Acked   int64     `json:"acked"`   // since the start
	Longest float64   `json:"longest"` // longest time between two acknowledgements since the last mark, in seconds
	Gaps    []Gap     `json:"gaps,omitempty"`
	Last    time.Time `json:"last"` // of the last acknowledgement
}

// Report is what has happened so far.
type Report struct {
	Now    time.Time        `json:"now"`
	Kinds  map[string]*Kind `json:"kinds"`
	Errors []string         `json:"errors,omitempty"`
	// Replayed counts operations answered with an error although they were done: the answer was lost with the server,
	// and the client repeated what cannot be repeated (a rename finds no source). NFS cannot tell; see docs/failover.md.
	Replayed []string `json:"replayed,omitempty"`
	// Stolen counts locks that a contender got.
	Stolen int64 `json:"stolen"`
}

// journal collects what the loops see.
type journal struct {
	mu       sync.Mutex
	kinds    map[string]*Kind
	errors   []string
	replayed []string
	stolen   int64
	aloud    bool // each acknowledgement is a line of standard output, at once
	ending   chan struct{}
	loops    sync.WaitGroup
}

func newJournal() *journal {
	return &journal{kinds: map[string]*Kind{}, aloud: os.Getenv("WORKLOAD_ACKS") != "", ending: make(chan struct{})}
}

// loop calls a function again and again until the end. A failure is noted and ends the loop: what comes after an error
// would say nothing.
func (j *journal) loop(pause time.Duration, once func() error) {
	j.loops.Go(func() {
		for {
			if err := once(); err != nil {
				j.fail(err)
				return
			}
			select {
			case <-j.ending:
				return
			case <-time.After(pause):
			}
		}
	})
}

func (j *journal) acked(kind string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	now := time.Now()
	k := j.kinds[kind]
	if k == nil {
		k = &Kind{Last: now}
		j.kinds[kind] = k
	}
	gap := now.Sub(k.Last)
	k.Longest = max(k.Longest, gap.Seconds())
	if gap > noteworthy {
		k.Gaps = append(k.Gaps, Gap{k.Last, gap.Seconds()})
	}
	k.Acked, k.Last = k.Acked+1, now
	if j.aloud {
		fmt.Println("ACK", kind, k.Acked)
	}
}

func (j *journal) fail(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.errors = append(j.errors, time.Now().Format(time.RFC3339Nano)+" "+err.Error())
}

func (j *journal) repeated(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.replayed = append(j.replayed, what)
}

func (j *journal) stole() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.stolen++
}

// mark forgets the waits so far, not the counts.
func (j *journal) mark() {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, k := range j.kinds {
		k.Longest, k.Gaps = 0, nil
	}
}

func (j *journal) stop() {
	close(j.ending)
	j.loops.Wait()
}

func (j *journal) report() Report {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := Report{Now: time.Now(), Kinds: map[string]*Kind{}, Errors: j.errors, Replayed: j.replayed, Stolen: j.stolen}
	for name, k := range j.kinds {
		c := *k
		r.Kinds[name] = &c
	}
	return r
}
