package ganesha

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrNotServing means that there is no Ganesha to tell. What was wanted is done when it is up again.
var ErrNotServing = errors.New("ganesha is not serving")

// Source says what is to be exported. It must be safe for concurrent use.
type Source interface {
	// Exports is everything, for the start of Ganesha.
	Exports() []Export
	// Export is one of them by name; false when it is not to be exported (any more).
	Export(name string) (Export, bool)
}

// exporter keeps a running Ganesha's exports equal to the source. It is level-triggered: it is told which export may have
// changed, and looks at the source when its turn comes, so that many changes of one export cost one call.
type exporter struct {
	source Source
	config Config

	mu      sync.Mutex
	waiting map[string][]chan error // dirty exports, and who waits for them
	turns   []string                // the same, in the order in which they became dirty: one that changes all the time holds up no other for long
	wake    chan struct{}
	active  bool // between serve's begin and end
	known   map[string]rendered
}

// rendered is what Ganesha was told of an export.
type rendered struct {
	id    uint16
	epoch uint64
	text  string
}

func newExporter(c Config, source Source) *exporter {
	return &exporter{source: source, config: c, waiting: map[string][]chan error{}, wake: make(chan struct{}, 1)}
}

// startFile renders everything, and remembers it as what the Ganesha that is about to start knows.
func (e *exporter) startFile() (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	begin := time.Now()
	exports := e.source.Exports()
	known := make(map[string]rendered, len(exports))
	for _, x := range exports {
		text, err := RenderExport(e.config, x)
		if err != nil {
			return "", err
		}
		known[x.Name] = rendered{x.ID, x.Epoch, text}
	}
	e.known = known
	c := e.config
	c.GraceSeconds = graceSeconds(c, len(exports), time.Since(begin))
	return RenderServer(c, exports)
}

// count is how many exports the Ganesha that was started last knows.
func (e *exporter) count() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return len(e.known)
}

// sync returns when Ganesha knows each named export as the source has it now, or with the first error.
func (e *exporter) sync(ctx context.Context, names ...string) error {
	answers := make([]chan error, 0, len(names))
	e.mu.Lock()
	for _, name := range names {
		answer := make(chan error, 1)
		e.waiting[name] = append(e.queue(name), answer)
		answers = append(answers, answer)
	}
	if !e.active {
		e.failWaiters()
	}
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	for _, answer := range answers {
		select {
		case err := <-answer:
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// queue gives an export its turn, if it has none, and returns who waits for it; the caller holds the lock.
func (e *exporter) queue(name string) (waiters []chan error) {
	waiters, dirty := e.waiting[name]
	if !dirty {
		e.turns = append(e.turns, name)
	}
	return waiters
}

// failWaiters answers all who wait; what they waited for stays to be done.
func (e *exporter) failWaiters() {
	for name, waiters := range e.waiting {
		for _, w := range waiters {
			w <- ErrNotServing
		}
		e.waiting[name] = nil
	}
}

// exportBus is how a running Ganesha is told.
type exportBus interface {
	add(ctx context.Context, id uint16, text string) error
	update(ctx context.Context, id uint16, text string) error
	remove(ctx context.Context, id uint16) error
}

// retryRefused is when an export is tried again that Ganesha has refused.
const retryRefused = 5 * time.Second

// serve applies changes over a bus until the context ends or the connection fails.
func (e *exporter) serve(ctx context.Context, b exportBus) error {
	e.mu.Lock()
	e.active = true
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.active = false
		e.failWaiters()
	}()
	for {
		refused, err := e.applyAll(ctx, b)
		if err != nil {
			return err
		}
		var retry <-chan time.Time
		if refused {
			retry = time.After(retryRefused)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-e.wake:
		case <-retry:
		}
	}
}

// applyAll returns when nothing is dirty but what Ganesha refuses, which is told to those who wait, and has its turn again after
// retryRefused though others change all the time; any other error ends the work.
func (e *exporter) applyAll(ctx context.Context, b exportBus) (refused bool, err error) {
	var again []string
	var retry time.Time
	defer func() { e.queueAgain(again) }()
	for {
		if len(again) > 0 && !time.Now().Before(retry) {
			e.queueAgain(again)
			again = nil
		}
		name, waiters, ok := e.next()
		if !ok {
			return len(again) > 0, nil
		}
		err := e.apply(ctx, b, name)
		for _, w := range waiters {
			w <- err
		}
		if err == nil {
			continue
		}
		if len(again) == 0 {
			retry = time.Now().Add(retryRefused)
		}
		again = append(again, name)
		if !isRefusal(err) {
			return true, err
		}
	}
}

func (e *exporter) queueAgain(names []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, name := range names {
		e.waiting[name] = e.queue(name)
	}
}

func (e *exporter) next() (string, []chan error, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.turns) == 0 {
		return "", nil, false
	}
	name := e.turns[0]
	e.turns = e.turns[1:]
	waiters := e.waiting[name]
	delete(e.waiting, name)
	return name, waiters, true
}

func (e *exporter) apply(ctx context.Context, b exportBus, name string) error {
	wanted, ok := e.source.Export(name)
	e.mu.Lock()
	has, known := e.known[name]
	e.mu.Unlock()
	if known && (!ok || wanted.ID != has.id || wanted.Epoch != has.epoch) {
		if err := b.remove(ctx, has.id); err != nil {
			return err
		}
		e.setKnown(name, nil)
		known = false
	}
	if !ok {
		return nil
	}
	text, err := RenderExport(e.config, wanted)
	switch {
	case err != nil:
		return err
	case !known:
		err = b.add(ctx, wanted.ID, text)
	case text != has.text:
		err = b.update(ctx, wanted.ID, text)
	}
	if err != nil {
		return err
	}
	e.setKnown(name, &rendered{wanted.ID, wanted.Epoch, text})
	return nil
}

func (e *exporter) setKnown(name string, r *rendered) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if r == nil {
		delete(e.known, name)
		return
	}
	e.known[name] = *r
}
