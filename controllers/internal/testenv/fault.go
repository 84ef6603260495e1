//go:build envtest

package testenv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apiruntime "k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// ErrInjected is what a Fault answers.
var ErrInjected = errors.New("injected: the API server does not answer")

// FaultKind is how a call fails.
type FaultKind string

const (
	// Refused is a call that has done nothing.
	Refused FaultKind = "refused"
	// Lost is a write that was done, and whose answer was lost.
	Lost FaultKind = "answer lost"
	// Conflict is a write that was refused because the object is another by now: a cache was behind.
	Conflict FaultKind = "conflict"
)

// Fault makes each call of a client fail the first time that it is made. A call is a verb and an object, or a kind for a list.
type Fault struct {
	Kind   FaultKind
	seen   map[string]bool // whether it writes
	struck int
}

// Faults are one of each kind: a story is told once with each.
func Faults() []*Fault { return []*Fault{{Kind: Refused}, {Kind: Lost}, {Kind: Conflict}} }

// Again has all calls fail that have failed before: the story takes another turn.
func (f *Fault) Again() { f.seen = nil }

// WritesAgain has the writes fail that have failed before: the story goes on, and looks at the same objects.
func (f *Fault) WritesAgain() {
	maps.DeleteFunc(f.seen, func(call string, write bool) bool { return write })
}

// Settle reconciles until nothing fails and nothing is written any more. It calls interrupted after each pass in which a call
// has failed, and hands it what the pass has returned.
func (f *Fault) Settle(t *testing.T, r reconcile.Reconciler, counter *Counter, name string, interrupted func(error)) reconcile.Result {
	t.Helper()
	const most = 500
	counter.Writes()
	for range most {
		before := f.struck
		result, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKey{Name: name}})
		switch {
		case f.struck != before:
			if err == nil && result.RequeueAfter == 0 && f.Kind == Conflict {
				t.Error("a conflict ends a pass that nothing repeats")
			}
			interrupted(err)
		case err != nil:
			t.Fatalf("nothing was injected, and it fails: %v", err)
		case counter.Writes() == 0:
			if f.struck == 0 {
				t.Fatal("no call has failed")
			}
			return result
		}
		counter.Writes()
	}
	t.Fatalf("it does not come to rest in %d passes", most)
	return reconcile.Result{}
}

// strike tells whether a call is to fail. Only writes can be lost, or meet another version.
func (f *Fault) strike(write bool, verb string, obj any, key client.ObjectKey) bool {
	if !write && f.Kind != Refused || verb == "create" && f.Kind == Conflict {
		return false
	}
	call := fmt.Sprintf("%s %T %s", verb, obj, key)
	if _, before := f.seen[call]; before {
		return false
	}
	if f.seen == nil {
		f.seen = map[string]bool{}
	}
	f.seen[call] = write
	f.struck++
	return true
}

func (f *Fault) read(verb string, obj any, key client.ObjectKey, call func() error) error {
	if f.strike(false, verb, obj, key) {
		return ErrInjected
	}
	return call()
}

func (f *Fault) write(verb string, obj any, key client.ObjectKey, call func() error) error {
	if !f.strike(true, verb, obj, key) {
		return call()
	}
	switch f.Kind {
	case Lost:
		if err := call(); err != nil {
			return err
		}
	case Conflict:
		return apierrors.NewConflict(schema.GroupResource{Resource: fmt.Sprintf("%T", obj)}, key.Name, ErrInjected)
	case Refused:
	}
	return ErrInjected
}

// Client is c with the fault.
func (f *Fault) Client(c client.WithWatch) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
			return f.read("get", obj, key, func() error { return c.Get(ctx, key, obj, opts...) })
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
			return f.read("list", list, client.ObjectKey{}, func() error { return c.List(ctx, list, opts...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			return f.write("create", obj, client.ObjectKeyFromObject(obj), func() error { return c.Create(ctx, obj, opts...) })
		},
		Update: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.UpdateOption) error {
			return f.write("update", obj, client.ObjectKeyFromObject(obj), func() error { return c.Update(ctx, obj, opts...) })
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			return f.write("delete", obj, client.ObjectKeyFromObject(obj), func() error { return c.Delete(ctx, obj, opts...) })
		},
		DeleteAllOf: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteAllOfOption) error {
			return f.write("deleteAllOf", obj, client.ObjectKey{}, func() error { return c.DeleteAllOf(ctx, obj, opts...) })
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			return f.write("patch", obj, client.ObjectKeyFromObject(obj), func() error { return c.Patch(ctx, obj, patch, opts...) })
		},
		Apply: func(ctx context.Context, c client.WithWatch, obj apiruntime.ApplyConfiguration, opts ...client.ApplyOption) error {
			return f.write("apply", obj, keyOf(obj), func() error { return c.Apply(ctx, obj, opts...) })
		},
		SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
			return f.write("patch "+sub, obj, client.ObjectKeyFromObject(obj), func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, sub string, obj client.Object, opts ...client.SubResourceUpdateOption) error {
			return f.write("update "+sub, obj, client.ObjectKeyFromObject(obj), func() error { return c.SubResource(sub).Update(ctx, obj, opts...) })
		},
	})
}

// keyOf names an apply configuration: those with a Go type, and unstructured ones.
func keyOf(obj apiruntime.ApplyConfiguration) (key client.ObjectKey) {
	if typed, ok := obj.(interface{ GetNamespace() *string }); ok && typed.GetNamespace() != nil {
		key.Namespace = *typed.GetNamespace()
	}
	switch named := obj.(type) {
	case interface{ GetName() *string }:
		if named.GetName() != nil {
			key.Name = *named.GetName()
		}
	case interface{ GetName() string }:
		key.Name = named.GetName()
	}
	return key
}
