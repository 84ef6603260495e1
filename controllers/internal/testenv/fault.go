//go:build envtest

package testenv

import (
	"context"
	"errors"
	"testing"

	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// ErrInjected is what a Fault answers.
var ErrInjected = errors.New("injected: the API server does not answer")

// Fault makes one call of a client fail: the one that Arm counts down to.
type Fault struct{ left int }

// Arm makes the n-th call from now on fail, once; 0 disarms.
func (f *Fault) Arm(n int) { f.left = n }

// Struck tells whether the call has come.
func (f *Fault) Struck() bool { return f.left <= 0 }

func (f *Fault) call() error {
	f.left--
	if f.left == 0 {
		return ErrInjected
	}
	return nil
}

// EachCall repeats a story with an error at its first call, its second call, and so on until it makes no more. The story
// gets a client of its own, and must check what came of it; it is told when no error is left.
func EachCall(t *testing.T, story func(t *testing.T, c client.WithWatch, f *Fault, n int)) {
	t.Helper()
	const most = 200
	for n := 1; n < most; n++ {
		f := &Fault{}
		story(t, faulty(Client(t), f), f, n)
		if t.Failed() || !f.Struck() {
			t.Logf("%d calls", n-1)
			return
		}
	}
	t.Fatalf("more than %d calls", most)
}

func faulty(c client.WithWatch, f *Fault) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return before(f, func() error { return c.Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return before(f, func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return before(f, func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return before(f, func() error { return c.Update(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return before(f, func() error { return c.Delete(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return before(f, func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj apiruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return before(f, func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return before(f, func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return before(f, func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
	})
}

// before fails a call before it has done anything.
func before(f *Fault, call func() error) error {
	if err := f.call(); err != nil {
		return err
	}
	return call()
}
