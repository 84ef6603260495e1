package engine

import (
	"context"

	"github.com/nfs-operator/nfs-operator/agent/store"
)

// maxClaimChanges is how many links by claim may wait to be made or removed.
const maxClaimChanges = 1024

// claimChange is a link by claim that is to be made or removed. It is for people only, and costs as many synchronous operations as half a
// volume: it is made behind the answer. A start of the agent makes up for what was lost.
type claimChange struct {
	volume store.Volume
	link   bool
}

func (e *Engine) changeClaim(v store.Volume, link bool) {
	c := claimChange{v, link}
	select {
	case e.claims <- c:
	default: // many at once, or nobody works: the queue's order does not matter, for a removal only removes its own volume's link
		e.applyClaim(c)
	}
}

func (e *Engine) runClaims(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case c := <-e.claims:
			e.applyClaim(c)
		}
	}
}

func (e *Engine) applyClaim(c claimChange) {
	e.linking.Lock()
	defer e.linking.Unlock()
	var err error
	now, ok := e.Store.Volume(c.volume.ID)
	inService := ok && now.State == store.StateReady
	switch { // it may have changed since
	case c.link && inService:
		err = e.Store.LinkClaim(now)
	case !c.link && !inService:
		err = e.Store.UnlinkClaim(c.volume)
	}
	if err != nil {
		e.Log.Error(err, "Cannot change the link of a claim's name", "volume", c.volume.ID)
	}
}
