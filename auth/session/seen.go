package session

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/loginwall/loginwall/auth"
)

const (
	// noteEvery is how exact "last seen" is in the directory.
	noteEvery = 30 * time.Second
	// maxSeen bounds the notes in memory; while the store is away, sessions beyond
	// it are not noted.
	maxSeen = 100_000
	// seenBatch is how many notes go to the store at once, so that no write there
	// holds up others for long.
	seenBatch = 1000
	// lastFlush is how long the flush at the end may take.
	lastFlush = 5 * time.Second
)

// notes collects when sessions were last seen, off the request's path.
type notes struct {
	mu   sync.Mutex
	last map[auth.SessionID]auth.Seen
}

// add keeps the latest note of each session.
func (n *notes) add(all ...auth.Seen) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		n.last = make(map[auth.SessionID]auth.Seen)
	}
	for _, seen := range all {
		old, found := n.last[seen.Session]
		if !found && len(n.last) >= maxSeen || found && old.At.After(seen.At) {
			continue
		}
		n.last[seen.Session] = seen
	}
}

func (n *notes) take() []auth.Seen {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := slices.Collect(maps.Values(n.last))
	n.last = nil
	return all
}

// FlushSeen writes to the store when sessions were last seen. What could not be
// written is kept for the next time.
func (k *Keeper) FlushSeen(ctx context.Context) error {
	all := k.seen.take()
	for len(all) > 0 {
		batch := all[:min(seenBatch, len(all))]
		if err := k.config.Store.Seen(ctx, batch); err != nil {
			k.seen.add(all...)
			return away("record when sessions were last seen", err)
		}
		all = all[len(batch):]
	}
	return nil
}

// RunSeen flushes at intervals until ctx ends, and then once more. Failures are
// not reported: the notes are kept, and the store's absence is told elsewhere.
func (k *Keeper) RunSeen(ctx context.Context, every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			_ = k.FlushSeen(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastFlush)
			defer cancel()
			_ = k.FlushSeen(last)
			return
		}
	}
}
