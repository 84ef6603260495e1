package ganesha

import (
	"bufio"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/go-logr/logr"
)

// A line of Ganesha's log: date, epoch, host, program[thread], function, component, level, text.
var logLine = regexp.MustCompile(`^.*\[[^\]]*\] (\S+) :([^:]*) :([A-Z_ ]+) :(.*)$`)

// Lines that come at every start and say nothing about why one failed.
var noise = []string{
	"BACKTRACE", "Fatal errors", "deprecated", "DIRECTORY_SERVICES section", "RADOS", "Cannot register NFS",
	"already active", "Export id not found",
	// Sums of errors, around the one that says something.
	"errors while processing parameters", "Errors processing block", "errors found block", "errors found in configuration",
	"Error while parsing core configuration", "Error setting parameters from configuration file", "Error in configuration file",
}

// logReader passes Ganesha's log on and remembers the line that says why it failed.
type logReader struct {
	log logr.Logger

	mu   sync.Mutex
	last string
}

// read passes lines on until the pipe ends.
func (l *logReader) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		l.line(lines.Text())
	}
}

func (l *logReader) line(text string) {
	level, message := parseLine(text)
	switch level {
	case "WARN", "CRIT", "MAJ", "FATAL":
		l.log.Info("Ganesha", "severity", level, "line", message)
		if meaningful(text, message) {
			l.mu.Lock()
			l.last = message
			l.mu.Unlock()
		}
	default:
		l.log.V(1).Info("Ganesha", "severity", level, "line", message)
	}
}

// parseLine splits a line; one that is not in Ganesha's form is its own message: the loader or a library wrote it.
func parseLine(text string) (level, message string) {
	m := logLine.FindStringSubmatch(text)
	if m == nil {
		return "WARN", strings.TrimSpace(text)
	}
	return m[3], strings.TrimSpace(m[4])
}

func meaningful(line, message string) bool {
	if message == "" || strings.Contains(line, "gsh_libunwind") {
		return false
	}
	return !slices.ContainsFunc(noise, func(n string) bool { return strings.Contains(message, n) })
}

// reason is the last line that matters, empty when there is none.
func (l *logReader) reason() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
