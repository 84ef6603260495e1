package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

const (
	writePause   = 200 * time.Millisecond
	contendPause = 500 * time.Millisecond
	recordBytes  = 32

	// Locks lie behind the end of the file, as those of databases do.
	lockStart  = int64(1) << 40
	lockLength = 100
	lockRanges = 4
)

func steadyFile(dir string) string { return filepath.Join(dir, "steady") }

func record(n int64) []byte { return fmt.Appendf(nil, "%0*d\n", recordBytes-1, n) }

func lockRange(i int64) *unix.Flock_t {
	return &unix.Flock_t{Type: unix.F_WRLCK, Start: lockStart + 2*lockLength*i, Len: lockLength}
}

// writer keeps a file open and locked, and appends numbered records with fsync. The client answers a write to a file
// whose lock the server has lost with an error.
type writer struct {
	f    *os.File
	next int64
}

func newWriter(dir string) (*writer, error) {
	f, err := os.OpenFile(steadyFile(dir), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for i := range int64(lockRanges) {
		if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, lockRange(i)); err != nil {
			return nil, fmt.Errorf("lock range %d: %w", i, err)
		}
	}
	return &writer{f, 1}, nil
}

func (w *writer) once(j *journal) error {
	if _, err := w.f.WriteAt(record(w.next), (w.next-1)*recordBytes); err != nil {
		return fmt.Errorf("write %d: %w", w.next, err)
	}
	if err := w.f.Sync(); err != nil {
		return fmt.Errorf("fsync after write %d: %w", w.next, err)
	}
	w.next++
	j.acked("write")
	return nil
}

// contender is another client that must not get what the writer has locked.
type contender struct{ f *os.File }

func newContender(dir string) (*contender, error) {
	f, err := os.OpenFile(steadyFile(dir), os.O_RDWR, 0)
	return &contender{f}, err
}

func (c *contender) once(j *journal) error {
	for i := range int64(lockRanges) {
		switch err := unix.FcntlFlock(c.f.Fd(), unix.F_SETLK, lockRange(i)); {
		case err == nil:
			j.stole()
			unlock := lockRange(i)
			unlock.Type = unix.F_UNLCK
			if err := unix.FcntlFlock(c.f.Fd(), unix.F_SETLK, unlock); err != nil {
				return fmt.Errorf("unlock range %d: %w", i, err)
			}
		case !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EACCES):
			return fmt.Errorf("ask for the lock of range %d: %w", i, err)
		}
	}
	j.acked("lock")
	return nil
}

// verifyWrites finds each of the first n records.
func verifyWrites(dir string, n int64) error {
	f, err := os.Open(steadyFile(dir))
	if err != nil {
		return err
	}
	defer f.Close()
	// The kernel's client keeps old pages of a file for as long as any process of the node has it open for writing, as the contender has,
	// unless the file is locked.
	content := &unix.Flock_t{Type: unix.F_RDLCK, Len: lockStart}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, content); err != nil {
		return fmt.Errorf("lock the content: %w", err)
	}
	got := make([]byte, recordBytes)
	for i := range n {
		if _, err := io.ReadFull(f, got); err != nil {
			return fmt.Errorf("record %d of %d acknowledged ones: %w", i+1, n, err)
		}
		if want := record(i + 1); string(got) != string(want) {
			return fmt.Errorf("record %d of %d acknowledged ones is %q", i+1, n, got)
		}
	}
	return nil
}
