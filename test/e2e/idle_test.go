//go:build e2e && long

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nfs-operator/nfs-operator/test/story"
)

// TestNothingIsWrittenWhileNothingChanges: for five minutes, with a backend that serves, all components on their nodes and a pod that
// writes all the time, our components write nothing to the API but their leases.
func TestNothingIsWrittenWhileNothingChanges(t *testing.T) {
	const quiet, look = 5 * time.Minute, 10 * time.Second
	e := newEnv(t)
	if os.Getenv("E2E_CLUSTER_TOOL") == "" {
		t.Skip("E2E_CLUSTER_TOOL does not name a cluster of test/cluster: the API server's audit log is needed")
	}
	e.create(newClaim("data"), newPod("writer", "data"))
	e.ready("writer")
	e.shell("writer", writer)
	e.writesOn("writer", "the start")
	started := time.Now()
	e.await("what came before has ended a minute ago", func(string) bool {
		return time.Since(started) > time.Minute && len(e.audit(e.Writes, time.Now().Add(-time.Minute))) == 0
	}, "get", "namespace", e.Namespace)

	from := time.Now()
	for range quiet / look {
		time.Sleep(look) // it is the time without a write that is awaited
		if said := e.audit(e.Writes, from); len(said) > 0 {
			t.Fatalf("nothing changed for %s, and our components wrote\n%s", time.Since(from).Round(time.Second), strings.Join(said, "\n"))
		}
	}
	leases := strings.Join(e.audit(e.LeaseWrites, from), "\n")
	for _, user := range []string{"manager", "csi-controller"} {
		if !strings.Contains(leases, ":"+user+": ") {
			t.Errorf("%s did not even write its leases: the audit log does not say what our components do:\n%.2000s", user, leases)
		}
	}
	e.writesOn("writer", "five quiet minutes")
	e.allWritten("writer")
}

// audit lists the writes of one kind since a moment.
func (e *env) audit(kind func(from, to time.Time) ([]story.Request, error), from time.Time) []string {
	e.t.Helper()
	writes, err := kind(from, time.Now())
	if err != nil {
		e.t.Fatal(err)
	}
	said := make([]string, len(writes))
	for i, w := range writes {
		said[i] = fmt.Sprint(w)
	}
	return said
}
