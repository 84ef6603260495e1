package mount

import (
	"strconv"
	"strings"
	"syscall"

	"github.com/nfs-operator/nfs-operator/csi/mount/child"
)

// parseResult reads what a child has written to its standard output.
func parseResult(text string) (child.Result, bool) {
	var r child.Result
	fields := strings.Fields(text)
	if len(fields) != 1+len(r.Values) {
		return r, false
	}
	errno, err := strconv.ParseUint(fields[0], 10, 31)
	if err != nil {
		return r, false
	}
	r.Errno = syscall.Errno(errno)
	for i := range r.Values {
		if r.Values[i], err = strconv.ParseUint(fields[i+1], 10, 64); err != nil {
			return r, false
		}
	}
	return r, true
}
