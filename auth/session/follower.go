package session

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/loginwall/loginwall/auth"
)

const (
	// defaultEvery keeps the promise of one second on every replica, with room for
	// a slow read.
	defaultEvery = 250 * time.Millisecond
	readTimeout  = 10 * time.Second
	sweepEvery   = time.Minute
)

// A FeedSource is the store's feed of revocations. Revocations returns all rows
// behind the cursor after, in the order of Seq, each with its latest state; 0
// asks for all there are. It may be called concurrently with everything else that
// the store does, and gives up when ctx ends.
type FeedSource interface {
	Revocations(ctx context.Context, after int64) (auth.Feed, error)
}

// A Follower keeps Revocations up to date by reading the store's feed. It is safe
// for concurrent use.
type Follower struct {
	source FeedSource
	set    *Revocations
	every  time.Duration
	log    *slog.Logger

	// turn is held by the one read that is under way, and guards what is below. A
	// channel, so that waiting for it can end with a context.
	turn    chan struct{}
	cursor  int64
	failing bool
}

// NewFollower returns one that has read nothing yet: Poll must have succeeded once
// before anything is served. every is 250 ms where it is zero.
func NewFollower(source FeedSource, set *Revocations, every time.Duration, log *slog.Logger) *Follower {
	if every <= 0 {
		every = defaultEvery
	}
	f := &Follower{source: source, set: set, every: every, log: log, turn: make(chan struct{}, 1)}
	poll := f.Poll
	set.refresh.Store(&poll)
	return f
}

// Poll reads the feed once, now. When it returns nil, the set knows everything
// that was committed before Poll was called. Its error wraps auth.ErrUnavailable.
func (f *Follower) Poll(ctx context.Context) error {
	select {
	case f.turn <- struct{}{}:
		defer func() { <-f.turn }()
	case <-ctx.Done():
		return away("read the revocations", ctx.Err())
	}
	timed, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	began := f.set.beginReading()
	feed, err := f.source.Revocations(timed, f.cursor)
	if err != nil {
		f.noteFailure(ctx, err)
		return away("read the revocations", err)
	}
	if f.set.apply(feed, began) {
		f.cursor = feed.Cursor
	}
	if f.failing {
		f.failing = false
		f.log.LogAttrs(ctx, slog.LevelInfo, "revocations are read again")
	}
	return nil
}

// noteFailure logs the first of a row of failures. A caller that gave up is none.
func (f *Follower) noteFailure(ctx context.Context, err error) {
	if f.failing || errors.Is(ctx.Err(), context.Canceled) {
		return
	}
	f.failing = true
	f.log.LogAttrs(ctx, slog.LevelWarn, "revocations cannot be read; the last known ones are in force",
		slog.Duration("age", f.set.Age()), slog.Any("error", err))
}

// Run polls until ctx ends, and sweeps what has expired.
func (f *Follower) Run(ctx context.Context) {
	poll, sweep := time.NewTicker(f.every), time.NewTicker(sweepEvery)
	defer poll.Stop()
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-poll.C:
			_ = f.Poll(ctx) // logged, and the set's Age tells
		case <-sweep.C:
			f.set.sweep()
		}
	}
}
