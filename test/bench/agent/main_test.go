//go:build vm && bench

// Package agent measures one NFS server: the agent as a whole process on a real XFS, with a real Ganesha, in a virtual machine.
package agent

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/agent/config"
	"github.com/nfs-operator/nfs-operator/test/agent/host"
)

const (
	mib = int64(1) << 20

	runs    = 3
	callers = 16 // at once, where it is only about filling the disk
)

// roomy is a configuration that lets thousands of small volumes fit on the test disk.
func roomy(h *host.Host) config.Config {
	c := h.Config(host.DiskLarge)
	c.OvercommitPercent = 1000
	return c
}

// serving starts an agent on a blank disk.
func serving(t *testing.T) (*host.Host, *host.Agent) {
	t.Helper()
	h := host.New(t)
	host.Wipe(t, host.DiskLarge)
	a := h.Start(t, roomy(h))
	a.WaitServing(t)
	return h, a
}

func volumeName(i int) string { return fmt.Sprintf("pvc-present-%d", i) }

// fill makes volumes until that many are there. It returns their ids.
func fill(t *testing.T, c agentv1.AgentClient, from, to int) []string {
	t.Helper()
	ids := make([]string, to-from)
	parallel(t, len(ids), callers, func(ctx context.Context, i int) error {
		v, err := create(ctx, c, volumeName(from+i))
		ids[i] = v.GetId()
		return err
	})
	return ids
}

// parallel calls work for 0 to n-1, by so many callers at once.
func parallel(t *testing.T, n, callers int, work func(ctx context.Context, i int) error) {
	t.Helper()
	next := make(chan int)
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for i := range next {
				if err := work(t.Context(), i); err != nil {
					t.Errorf("%d: %v", i, err)
				}
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	all.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func create(ctx context.Context, c agentv1.AgentClient, name string) (*agentv1.Volume, error) {
	return c.CreateVolume(ctx, &agentv1.CreateVolumeRequest{
		Name: name, Spec: &agentv1.VolumeSpec{Bytes: mib, Mode: 0o777, ClaimNamespace: "bench", ClaimName: name},
	})
}

// remove repeats what is still held by a node that was heard of just now.
func remove(ctx context.Context, c agentv1.AgentClient, id string) error {
	for {
		_, err := c.DeleteVolume(ctx, &agentv1.DeleteVolumeRequest{Id: id})
		if status.Code(err) != codes.FailedPrecondition && status.Code(err) != codes.Aborted {
			return err
		}
		time.Sleep(time.Second)
	}
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
