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

// stackPatience is how long servers wait for the CSI stack at an upgrade. A node that is down must not hold them up for ever.
const stackPatience = 15 * time.Minute

// turn is given to one server at a time, of all backends: not all volumes of a cluster stand still at once, and a new version that does
// not serve stops at the first server. It is kept until that serves again, or its backend is paused or deleted. A manager that was
// restarted begins anew.
type turn struct {
	mu              sync.Mutex
	backend, server string
}

// take gives the turn to a server of a backend, unless another has it; that is named then.
func (t *turn) take(backend, server string) (other string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.server != "" && t.server != server {
		return t.server
	}
	t.backend, t.server = backend, server
	return ""
}

// end passes the turn on if the server has it.
func (t *turn) end(server string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.server == server {
		t.backend, t.server = "", ""
	}
}

// endOf passes the turn on if a server of the backend has it.
func (t *turn) endOf(backend string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.backend == backend {
		t.backend, t.server = "", ""
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
	if other := r.turn.take(s.backend.Name, shard.Name()); other != "" {
		return fmt.Sprintf("server %s serves again", other), nil
	}
	return "", nil
}
