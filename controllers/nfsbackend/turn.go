package nfsbackend

import (
	"context"
	"fmt"
	"sync"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
	"github.com/nfs-operator/nfs-operator/controllers/internal/install"
)

const (
	// longestTurn is how long a server that was replaced holds up those of other backends. One that has not come back by then is its
	// own backend's trouble: the others may have been edited to mend theirs.
	longestTurn = 10 * time.Minute
	// stackPatience is how long servers wait for the CSI stack at an upgrade. A node that is down must not hold them up for ever.
	stackPatience = 15 * time.Minute
)

// turn is given to one server at a time, of all backends: a new version that does not serve is seen at the first server, and not all
// volumes of a cluster stand still at once. A manager that was restarted begins anew.
type turn struct {
	mu     sync.Mutex
	holder string
	since  time.Time
}

// take gives the turn to a server, unless another has it; that is named then.
func (t *turn) take(server string, now time.Time) (other string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder != "" && t.holder != server && now.Sub(t.since) < longestTurn {
		return t.holder
	}
	t.holder, t.since = server, now
	return ""
}

// end passes the turn on if the server has it.
func (t *turn) end(server string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.holder == server {
		t.holder = ""
	}
}

// upgrading tells whether the CSI stack is being brought to a version, and may still come there.
func upgrading(driver *v1alpha1.NFSDriver, version string, now time.Time) bool {
	if driver.Status.Version == "" || driver.Status.Version == version {
		return false
	}
	ready := apimeta.FindStatusCondition(driver.Status.Conditions, v1alpha1.ConditionReady)
	return ready == nil || ready.Status == metav1.ConditionTrue || now.Sub(ready.LastTransitionTime.Time) < stackPatience
}

// awaitTurn says for what a server that serves has to wait before it is replaced, or nothing.
func (r *Reconciler) awaitTurn(ctx context.Context, s *scope, shard *shardState) (string, error) {
	driver, err := find(ctx, r.Client, client.ObjectKey{Name: install.DriverName}, &v1alpha1.NFSDriver{})
	if err != nil {
		return "", err
	}
	if driver != nil && shard.last.Version != s.version && upgrading(driver, s.version, s.now) {
		return fmt.Sprintf("the CSI driver runs version %s", s.version), nil
	}
	if other := r.turn.take(shard.Name(), s.now); other != "" {
		return fmt.Sprintf("server %s serves again", other), nil
	}
	return "", nil
}
