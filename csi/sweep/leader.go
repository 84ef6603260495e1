package sweep

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Lease is the name of the Lease that the sweeping replica holds.
const Lease = "csi-controller-sweep"

// Nobody waits for a sweep: the lease is renewed seldom.
const (
	leaseDuration = 2 * time.Minute
	renewDeadline = 80 * time.Second
	retryPeriod   = 25 * time.Second
)

// Lead has work run on one of the replicas at a time, until the context ends.
func Lead(ctx context.Context, clients kubernetes.Interface, namespace, identity string, work func(context.Context)) error {
	lock, err := resourcelock.New(resourcelock.LeasesResourceLock, namespace, Lease, clients.CoreV1(), clients.CoordinationV1(),
		resourcelock.ResourceLockConfig{Identity: identity})
	if err != nil {
		return fmt.Errorf("make lease lock: %w", err)
	}
	var running sync.Mutex // work that has lost its lease may still be ending when the lease is won again
	config := leaderelection.LeaderElectionConfig{
		Name: Lease, Lock: lock, ReleaseOnCancel: true,
		LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				running.Lock()
				defer running.Unlock()
				work(ctx)
			},
			OnStoppedLeading: func() {},
		},
	}
	for ctx.Err() == nil { // a lease that was lost is stood for again
		elector, err := leaderelection.NewLeaderElector(config)
		if err != nil {
			return fmt.Errorf("make leader election: %w", err)
		}
		elector.Run(ctx)
	}
	return nil
}
