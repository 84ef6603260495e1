package main

import (
	"bufio"
	"context"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"golang.org/x/sys/unix"
)

// afterStart is when a program has done what it does only once.
const afterStart = 20 * time.Second

// giveBackStartup waits until the program has started, and then gives back what only its start has used: garbage, and pages of its own
// file, for to initialize its packages, a program of this size reads most of itself. What is needed again is mapped again
// from the page cache.
func giveBackStartup(ctx context.Context, log logr.Logger) error {
	select {
	case <-ctx.Done():
		return nil
	case <-time.After(afterStart):
	}
	debug.FreeOSMemory()
	bytes, err := unmapProgram()
	if err != nil {
		log.Info("Cannot give back the memory that only the start has used", "reason", err.Error())
		return nil // it costs nothing but memory
	}
	log.V(1).Info("Gave back the memory that only the start has used", "mappedBytes", bytes)
	return nil
}

// unmapProgram drops the pages of the program's file from its read-only mappings. It says how large those are.
func unmapProgram() (int64, error) {
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return 0, err
	}
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		return 0, err
	}
	defer func() { _ = f.Close() }()
	var sum int64
	var start, end uintptr
	scanner := bufio.NewScanner(f)
	for scanner.Scan() {
		fields := strings.Fields(scanner.Text())
		switch {
		case len(fields) >= 6 && !strings.HasSuffix(fields[0], ":"):
			start, end = 0, 0
			if strings.HasSuffix(scanner.Text(), " "+program) && (fields[1] == "r-xp" || fields[1] == "r--p") {
				start, end = parseRange(fields[0])
			}
		// Pages that were written to (by a loader that relocates) are not in the file.
		case len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0" && end > start:
			if err := dropPages(start, end); err != nil {
				return sum, err
			}
			sum += int64(end - start)
		}
	}
	return sum, scanner.Err()
}

// parseRange reads "start-end" in hexadecimal; a text that is none is an empty range.
func parseRange(text string) (start, end uintptr) {
	from, to, _ := strings.Cut(text, "-")
	a, errA := strconv.ParseUint(from, 16, 64)
	b, errB := strconv.ParseUint(to, 16, 64)
	if errA != nil || errB != nil {
		return 0, 0
	}
	return uintptr(a), uintptr(b)
}

func dropPages(start, end uintptr) error {
	// The memory is the program's own, and stays mapped: only its pages are read from the file again.
	if _, _, errno := unix.Syscall(unix.SYS_MADVISE, start, end-start, unix.MADV_DONTNEED); errno != 0 {
		return errno
	}
	return nil
}
