package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"
)

// progress tells on standard error what is being done, and remembers how long each step took.
type progress struct {
	began time.Time
	steps []step
}

type step struct {
	name string
	took time.Duration
}

func newProgress() *progress { return &progress{began: time.Now()} }

// do runs one step. One that lasts says every 20 seconds that it still goes on.
func (p *progress) do(name string, f func() error) error {
	fmt.Fprintf(os.Stderr, "%s  %s\n", p.elapsed(), name)
	began := time.Now()
	done := make(chan struct{})
	defer close(done)
	go func() {
		ticker := time.NewTicker(20 * time.Second)
		defer ticker.Stop()
		for {
			select {
			case <-done:
				return
			case <-ticker.C:
				fmt.Fprintf(os.Stderr, "%s    ... %s, for %s\n", p.elapsed(), name, time.Since(began).Round(time.Second))
			}
		}
	}()
	if err := f(); err != nil {
		return fmt.Errorf("%s: %w", strings.ToLower(name[:1])+name[1:], err)
	}
	p.steps = append(p.steps, step{name, time.Since(began)})
	return nil
}

func (p *progress) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s    %s\n", p.elapsed(), fmt.Sprintf(format, args...))
}

func (p *progress) elapsed() string {
	d := time.Since(p.began)
	return fmt.Sprintf("[%02d:%02d]", int(d.Minutes()), int(d.Seconds())%60)
}

func (p *progress) table(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "STEP\tTIME")
	for _, s := range p.steps {
		fmt.Fprintf(t, "%s\t%.1f s\n", s.name, s.took.Seconds())
	}
	fmt.Fprintf(t, "total\t%.1f s\n", time.Since(p.began).Seconds())
	t.Flush()
}
