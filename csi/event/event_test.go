package event

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/testr"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type client struct {
	created chan *eventsv1.Event
	release chan struct{}
	err     error
}

func (c *client) Create(ctx context.Context, e *eventsv1.Event, _ metav1.CreateOptions) (*eventsv1.Event, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("no deadline")
	}
	c.created <- e
	<-c.release
	return e, c.err
}

func TestWarn(t *testing.T) {
	c := &client{created: make(chan *eventsv1.Event, 2*waiting), release: make(chan struct{})}
	n := NewNode(c, "node-1", testr.New(t))
	n.SetUID("uid-1")
	for range 2 * waiting { // an API server that does not answer holds up nobody, and not more than so many are kept
		n.Warn("Why", strings.Repeat("x", 2*longestNote))
	}
	e := <-c.created
	if e.Namespace != "default" || e.Regarding.Name != "node-1" || e.Regarding.UID != "uid-1" || e.Reason != "Why" || len(e.Note) != longestNote {
		t.Errorf("event is %+v", e)
	}
	if problems := validation.NameIsDNSSubdomain(e.GenerateName, true); len(problems) > 0 { // as the API server does
		t.Errorf("generateName %q: %v", e.GenerateName, problems)
	}
	c.err = errors.New("forbidden")
	close(c.release)
	n.Wait()
	if more := len(c.created); more != waiting-1 {
		t.Errorf("%d events were kept, want %d", more+1, waiting)
	}
	n.Warn("Why", "again")
	n.Wait()
	if e := <-c.created; e == nil {
		t.Error("nothing is written after a failure")
	}
}
