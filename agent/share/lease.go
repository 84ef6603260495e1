package share

import (
	"bufio"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
)

// lease is how long the server of the share keeps the lock of a client that it does not hear of; 0 when the kernel does not say. To ask
// does not wait for the server.
func (p Place) lease() time.Duration {
	f, err := os.Open("/proc/self/mountstats")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }()
	return leaseOf(f, p.Dir)
}

// leaseOf reads mountstats of the kernel: of what is mounted at a directory, the last.
func leaseOf(stats io.Reader, dir string) (lease time.Duration) {
	here := false
	for lines := bufio.NewScanner(stats); lines.Scan(); {
		line := lines.Text()
		if strings.HasPrefix(line, "device ") {
			here = strings.Contains(line, " mounted on "+dir+" with fstype nfs4")
		}
		_, after, found := strings.Cut(line, ",lease_time=")
		if !here || !found {
			continue
		}
		text, _, _ := strings.Cut(after, ",")
		if seconds, err := strconv.Atoi(text); err == nil {
			lease = time.Duration(seconds) * time.Second
		}
	}
	return lease
}

// pace is how often the share is looked at, and how long an answer may take. Both together, and the time to end, stay below two thirds of the
// server's lease: another agent can have the lock from then on.
func pace(lease time.Duration) (interval, patience time.Duration) {
	if lease <= 0 {
		return watchInterval, watchPatience
	}
	return min(watchInterval, lease/10), min(watchPatience, lease*2/5)
}
