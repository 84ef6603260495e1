package apply

import (
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// conflictInterval is long enough for a cache to catch up.
const conflictInterval = 200 * time.Millisecond

// Status patches the status of an object that was read as before. An object that is gone needs none.
func Status(ctx context.Context, c client.Client, before, after client.Object) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := c.Status().Patch(ctx, after, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch status of %s: %w", after.GetName(), err)
	}
	return nil
}

// Result ends a pass. A conflict only means that the cache was behind: that is no error to log, but to look again.
func Result(result ctrl.Result, err error) (ctrl.Result, error) {
	switch {
	case apierrors.IsConflict(err):
		return ctrl.Result{RequeueAfter: conflictInterval}, nil
	case err != nil:
		return ctrl.Result{}, err
	}
	return result, nil
}
