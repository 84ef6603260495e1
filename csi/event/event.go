// Package event writes Kubernetes events about the node that this is: what happened to a volume here that no answer to
// a call tells, for people who look at the Node.
package event

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/nfs-operator/nfs-operator/internal/names"
)

const (
	// Namespace is where events about objects without a namespace are.
	Namespace = metav1.NamespaceDefault
	timeout   = 30 * time.Second
	// waiting is how many events may be on their way at a time: a node whose API server is away keeps no more of them.
	waiting = 16
	// What the API server takes.
	longestNote     = 1024
	longestInstance = 128
)

// Client writes events; client-go's typed client of events.k8s.io/v1 is one.
type Client interface {
	Create(ctx context.Context, event *eventsv1.Event, o metav1.CreateOptions) (*eventsv1.Event, error)
}

// Node writes events about one Node.
type Node struct {
	client Client
	name   string
	log    logr.Logger
	now    func() time.Time
	slots  chan struct{}
	group  sync.WaitGroup

	mu  sync.Mutex
	uid types.UID
}

// NewNode makes a Node. Its events are found by its name; with SetUID also by those who look for the object.
func NewNode(client Client, name string, log logr.Logger) *Node {
	return &Node{client: client, name: name, log: log, now: time.Now, slots: make(chan struct{}, waiting)}
}

// SetUID says which Node of that name this is.
func (n *Node) SetUID(uid types.UID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.uid = uid
}

// Warn writes an event of type Warning. It does not wait; what cannot be written is logged.
func (n *Node) Warn(reason, note string) {
	select {
	case n.slots <- struct{}{}:
	default:
		n.log.Info("Event is dropped: too many wait for the API server", "reason", reason, "note", note)
		return
	}
	event := n.event(reason, note)
	n.group.Go(func() {
		defer func() { <-n.slots }()
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if _, err := n.client.Create(ctx, event, metav1.CreateOptions{}); err != nil {
			n.log.Error(err, "Cannot write an event", "reason", reason, "note", note)
		}
	})
}

// Wait returns when no event is on its way.
func (n *Node) Wait() { n.group.Wait() }

func (n *Node) event(reason, note string) *eventsv1.Event {
	n.mu.Lock()
	defer n.mu.Unlock()
	return &eventsv1.Event{
		ObjectMeta:          metav1.ObjectMeta{GenerateName: n.name + "-", Namespace: Namespace},
		EventTime:           metav1.NewMicroTime(n.now()),
		ReportingController: names.Driver,
		ReportingInstance:   shorten(n.name, longestInstance),
		Action:              "NodeVolume",
		Reason:              reason,
		Type:                corev1.EventTypeWarning,
		Regarding:           corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: n.name, UID: n.uid},
		Note:                shorten(note, longestNote),
	}
}

func shorten(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}
