package engine

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// Copies at a time. They share the forces of the file system's log, and leave room for other calls.
	copyWorkers = 4
	// Copies that wait for a worker.
	maxQueued = 1000
	// A copy logs how far it has come every so many files.
	progressFiles = 20_000
)

// job is a copy in the background, which goes on when its caller gives up.
type job struct {
	done  chan struct{}
	err   error        // valid after done is closed
	files atomic.Int64 // how many it has come to
	stop  func()       // its work is not wanted any more
}

// jobs are the copies that wait or run, by the key of what they make.
type jobs struct {
	mu    sync.Mutex
	byKey map[string]*job
	queue chan func(context.Context)
}

func newJobs() *jobs {
	return &jobs{byKey: map[string]*job{}, queue: make(chan func(context.Context), maxQueued)}
}

// start queues a job, unless one with this key is there already: then it returns that one, not fresh, and work will not run.
func (j *jobs) start(key string, work func(context.Context, *job) error) (running *job, fresh bool, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if running, ok := j.byKey[key]; ok {
		return running, false, nil
	}
	wanted, stop := context.WithCancel(context.Background())
	running = &job{done: make(chan struct{}), stop: stop}
	select {
	case j.queue <- func(ctx context.Context) {
		defer context.AfterFunc(ctx, stop)()
		j.finish(key, running, work(wanted, running))
		stop()
	}:
	default:
		stop()
		return nil, false, errors.Join(ErrBusy, errors.New("too many copies are waiting"))
	}
	j.byKey[key] = running
	return running, true, nil
}

func (j *jobs) finish(key string, f *job, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.byKey, key)
	f.err = err
	close(f.done)
}

func (j *jobs) running(key string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	_, ok := j.byKey[key]
	return ok
}

// stop has a job end soon, and returns it; nil when there is none.
func (j *jobs) stop(key string) *job {
	j.mu.Lock()
	defer j.mu.Unlock()
	running := j.byKey[key]
	if running != nil {
		running.stop()
	}
	return running
}

// wait returns the job's error, or ErrBusy when it has not ended in time.
func (f *job) wait(ctx context.Context, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-f.done:
		return f.err
	case <-ctx.Done():
		return ErrBusy
	}
}

// Run does the work in the background, copies and the emptying of the trash, until the context ends.
func (e *Engine) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range copyWorkers {
		workers.Go(func() {
			for {
				select {
				case <-ctx.Done():
					return
				case work := <-e.jobs.queue:
					work(ctx)
				}
			}
		})
	}
	workers.Go(func() { e.runTrash(ctx) })
	workers.Go(func() { e.runClaims(ctx) })
	workers.Wait()
}

// progress notes how far a copy has come, for its callers and in the log.
func (e *Engine) progress(j *job, what, id string) func(files int) {
	return func(files int) {
		j.files.Store(int64(files))
		if files%progressFiles == 0 {
			e.Log.Info("Copying", what, id, "files", files)
		}
	}
}
