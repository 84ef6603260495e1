// Package announce keeps the agents' view of this node right. To each shard of which the node has a volume it holds
// one stream, and says on it what the whole truth is: at every (re)connection, after every change, and every five
// minutes. An agent that missed something learns it with the next announcement, and the node's calls never wait.
package announce

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"google.golang.org/grpc"

	agentv1 "github.com/nfs-operator/nfs-operator/agent/api/v1"
	"github.com/nfs-operator/nfs-operator/csi/agents"
	"github.com/nfs-operator/nfs-operator/csi/mount"
	"github.com/nfs-operator/nfs-operator/csi/nodestate"
	"github.com/nfs-operator/nfs-operator/csi/volumeid"
)

const (
	// period is how often the truth is told when nothing happened.
	period = 5 * time.Minute
	// lingerPeriod is how often the kernel is asked whether it has let go of an unmounted volume.
	lingerPeriod = 5 * time.Second
	// retryInUse and retryIdle are the pauses after a stream broke: the agent of a shard of which this node has
	// nothing left is told so without haste, for it may be gone for good.
	retryInUse = time.Second
	retryIdle  = time.Minute
	// connectTimeout bounds the wait for a server's agent; after it the server is looked for anew.
	connectTimeout = time.Minute
	// goodbyeTimeout bounds an attempt to tell an agent that this node has nothing left.
	goodbyeTimeout = 10 * time.Second
)

// Agents finds the agent of a shard; agents.Node is one.
type Agents interface {
	Connect(ctx context.Context, shard volumeid.Shard) (agents.Connection, error)
	Confirm(shard volumeid.Shard, address string) error
}

// Announcer runs the streams.
type Announcer struct {
	state  *nodestate.Store
	agents Agents
	client func() (*agentv1.Client, error)
	mounts mount.Mounter
	log    logr.Logger
	period time.Duration // how often the truth is told when nothing happened

	mu      sync.Mutex
	changed map[volumeid.Shard]chan struct{} // a stream's worker and the signal that there is news
	start   func(volumeid.Shard, <-chan struct{})
}

// New makes an Announcer; client says how this node can appear to a server.
func New(state *nodestate.Store, agents Agents, client func() (*agentv1.Client, error), mounts mount.Mounter, log logr.Logger) *Announcer {
	return &Announcer{
		state: state, agents: agents, client: client, mounts: mounts, log: log, period: period, changed: map[volumeid.Shard]chan struct{}{},
	}
}

// Changed says that the node's volumes of a shard have changed. It does not wait.
func (a *Announcer) Changed(shard volumeid.Shard) {
	a.mu.Lock()
	defer a.mu.Unlock()
	news, ok := a.changed[shard]
	if !ok {
		news = make(chan struct{}, 1)
		a.changed[shard] = news
		if a.start != nil {
			a.start(shard, news)
		}
	}
	select {
	case news <- struct{}{}:
	default: // there is a signal that nobody has taken yet
	}
}

// Run announces until the context ends.
func (a *Announcer) Run(ctx context.Context) error {
	var workers sync.WaitGroup
	defer workers.Wait()
	a.mu.Lock()
	a.start = func(shard volumeid.Shard, news <-chan struct{}) {
		workers.Go(func() { a.serve(ctx, shard, news) })
	}
	for shard, news := range a.changed {
		a.start(shard, news)
	}
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.start = nil
	}()
	for _, shard := range a.state.OpenShards() {
		a.Changed(shard)
	}
	return a.watchLingering(ctx)
}

// watchLingering strikes volumes out once the kernel has let go of them.
func (a *Announcer) watchLingering(ctx context.Context) error {
	ticker := time.NewTicker(lingerPeriod)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if !a.state.HasLingering() {
			continue
		}
		shards, err := a.state.Reconcile(a.mounts, false)
		if err != nil {
			a.log.Error(err, "Cannot look for unmounted file systems")
		}
		for _, shard := range shards {
			a.Changed(shard)
		}
	}
}

// serve is the worker of one shard. It ends when the agent knows that the node has nothing left.
func (a *Announcer) serve(ctx context.Context, shard volumeid.Shard, news <-chan struct{}) {
	log := a.log.WithValues("server", shard.Name())
	for ctx.Err() == nil {
		closed, err := a.session(ctx, shard, news)
		if closed && a.leave(shard) {
			return
		}
		if err == nil || ctx.Err() != nil {
			continue
		}
		log.V(1).Info("Announcements are interrupted", "reason", err.Error())
		pause := time.NewTimer(a.pause(shard))
		select {
		case <-ctx.Done():
		case <-pause.C:
		case <-news: // the next session tells it
		}
		pause.Stop()
	}
}

func (a *Announcer) pause(shard volumeid.Shard) time.Duration {
	if a.state.Has(shard) {
		return retryInUse
	}
	return retryIdle
}

// leave ends a shard's worker unless there is news.
func (a *Announcer) leave(shard volumeid.Shard) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.changed[shard]) > 0 {
		return false
	}
	delete(a.changed, shard)
	return true
}

// session holds one stream. It reports true when the agent has acknowledged that the node has nothing left.
func (a *Announcer) session(ctx context.Context, shard volumeid.Shard, news <-chan struct{}) (bool, error) {
	if !a.state.Open(shard) {
		select {
		case <-news: // that there is nothing left; else it stays, and a session that fails is followed by another at once
		default:
		}
		if !a.state.Open(shard) { // who stages a volume opens the shard before it says so
			return true, nil
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if !a.state.Has(shard) {
		ctx, cancel = context.WithTimeout(ctx, goodbyeTimeout)
		defer cancel()
	}
	agent, err := a.agents.Connect(ctx, shard)
	if err != nil {
		return false, err
	}
	// With WaitForReady the stream begins the moment that the server is back.
	giveUp := time.AfterFunc(connectTimeout, cancel)
	stream, err := agent.Client.Announce(ctx, grpc.WaitForReady(true))
	giveUp.Stop()
	if err != nil {
		return false, err
	}
	replies := receive(ctx, stream)
	ticker := time.NewTicker(a.period)
	defer ticker.Stop()
	for {
		select {
		case <-news: // what it is about is part of the truth that follows
		default:
		}
		closed, err := a.announce(ctx, shard, agent.Address, stream, replies)
		if closed || err != nil {
			return closed, err
		}
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-news:
		case <-ticker.C:
		case r := <-replies: // none is awaited: the stream has broken
			return false, errors.Join(r.err, io.ErrUnexpectedEOF)
		}
	}
}

// announce tells the truth once and waits until the agent has heard it.
func (a *Announcer) announce(ctx context.Context, shard volumeid.Shard, address string, stream announceStream, replies <-chan reply) (bool, error) {
	message, err := a.message(shard)
	if err != nil {
		return false, err
	}
	if err := stream.Send(message); err != nil && !errors.Is(err, io.EOF) { // after EOF, Recv has the reason
		return false, err
	}
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case r := <-replies:
			if r.err != nil {
				return false, r.err
			}
			if r.generation < message.GetGeneration() {
				continue
			}
		}
		break
	}
	if err := a.agents.Confirm(shard, address); err != nil {
		return false, err
	}
	if len(message.GetGrants()) > 0 {
		return false, nil
	}
	return a.state.Close(shard)
}

func (a *Announcer) message(shard volumeid.Shard) (*agentv1.Announcement, error) {
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	generation, volumes, err := a.state.Truth(shard)
	if err != nil {
		return nil, err
	}
	message := &agentv1.Announcement{Generation: generation, Client: client}
	for _, v := range volumes {
		message.Grants = append(message.Grants, v.Grant())
	}
	return message, nil
}

type announceStream = grpc.BidiStreamingClient[agentv1.Announcement, agentv1.AnnouncementReply]

type reply struct {
	generation int64
	err        error
}

func receive(ctx context.Context, stream announceStream) <-chan reply {
	replies := make(chan reply)
	go func() {
		for {
			message, err := stream.Recv()
			select {
			case replies <- reply{message.GetGeneration(), err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return replies
}
