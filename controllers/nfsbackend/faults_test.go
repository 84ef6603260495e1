//go:build envtest

package nfsbackend

import (
	"context"
	"errors"
	"fmt"
	"testing"

	. "github.com/onsi/gomega"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/nfs-operator/nfs-operator/api/v1alpha1"
)

// failing fails the call of the given number, counted from 1, and counts all.
type failing struct{ number, calls int }

var errInjected = errors.New("injected")

func (f *failing) next() error {
	f.calls++
	if f.calls == f.number {
		return errInjected
	}
	return nil
}

func (f *failing) client(c client.Client) client.WithWatch {
	return interceptor.NewClient(c.(client.WithWatch), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			if err := f.next(); err != nil {
				return err
			}
			return c.Get(ctx, key, obj, opts...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			if err := f.next(); err != nil {
				return err
			}
			return c.List(ctx, list, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if err := f.next(); err != nil {
				return err
			}
			return c.Delete(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if err := f.next(); err != nil {
				return err
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj runtime.ApplyConfiguration, opts ...client.ApplyOption) error {
			if err := f.next(); err != nil {
				return err
			}
			return c.Apply(ctx, obj, opts...)
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			if err := f.next(); err != nil {
				return err
			}
			return c.SubResource(sub).Patch(ctx, obj, patch, opts...)
		},
	})
}

// attempt reconciles once with one call failing, and tells whether there was a call of that number.
func (w *world) attempt(number int) bool {
	w.t.Helper()
	whole, fault := w.r.Client, &failing{number: number}
	w.r.Client = fault.client(whole)
	w.r.Uncached = w.r.Client
	_, _ = w.r.Reconcile(w.t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: w.name}})
	w.r.Client, w.r.Uncached = whole, whole
	return fault.calls >= number
}

func TestEveryFailedCallOfANewBackendHeals(t *testing.T) {
	eachCall(t, func(w *world, number int) bool {
		w.create(nil)
		reached := w.attempt(number)
		w.ready(0)
		w.Expect(w.inUseLabels()).To(BeEmpty())
		return reached
	})
}

// eachCall tells a story anew for each call that can fail in it, until the story says that there was no such call.
func eachCall(t *testing.T, story func(w *world, number int) bool) {
	t.Helper()
	for number, reached := 1, true; reached; number++ {
		ok := t.Run(fmt.Sprintf("call %d", number), func(t *testing.T) { reached = story(newWorld(t), number) })
		if !ok {
			t.FailNow()
		}
	}
}

// Nothing of a backend that works is deleted, whatever call of a pass fails, and no address is forgotten.
func TestEveryFailedCallOfAWorkingBackendHealsAndDeletesNothing(t *testing.T) {
	w := newWorld(t)
	w.readyShards(2)
	before := w.backend().Status
	for number := 1; w.attempt(number); number++ {
		for shard := range int32(2) {
			w.get(w.podOf(shard), &corev1.Pod{})
			w.get(w.shardKey(shard), &appsv1.StatefulSet{})
			w.get(w.shardKey(shard), &corev1.Service{})
			w.get(w.claimOf(shard), &corev1.PersistentVolumeClaim{})
		}
		w.settle()
		after := w.backend().Status
		w.Expect(after.Shards).To(HaveLen(2), "call %d", number)
		for i := range after.Shards {
			w.Expect(after.Shards[i].Address).To(Equal(before.Shards[i].Address))
			w.Expect(after.Shards[i].Serving).To(BeTrue())
		}
	}
	w.Expect(w.condition(v1alpha1.ConditionReady).Reason).To(Equal(reasonServing))
}

func TestEveryFailedCallOfADeletionHeals(t *testing.T) {
	eachCall(t, func(w *world, number int) bool {
		w.create(nil)
		w.ready(0)
		w.delete()
		w.pass()
		w.ahead += settleInterval
		w.pass() // released
		reached := w.attempt(number)
		w.settle()
		w.Expect(w.backendGone()).To(BeTrue())
		w.Expect(w.gone(w.shard(), &corev1.Service{})).To(BeTrue())
		claim := &corev1.PersistentVolumeClaim{}
		w.get(w.claimKey(), claim)
		w.Expect(claim.DeletionTimestamp).To(BeNil())
		return reached
	})
}
