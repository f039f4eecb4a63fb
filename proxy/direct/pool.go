package direct

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"
)

// A pool keeps connections between requests, and counts all there are.
type pool struct {
	mu sync.Mutex // guards what follows
	// idle is a stack, so that the connections that a burst has left grow old at the
	// bottom, and go.
	idle []*conn
	// open counts places: connections, in use or not, and what becomes one.
	open int
	// waiting stand in line for a place, or for a connection with its place.
	waiting []chan *conn
	sweeper *time.Timer
	swept   bool // the sweeper is not set
}

// take gives out an idle connection; or, all three being nil, a place for a new
// one; or a channel that will yield either. Where fresh ones are asked for, an
// idle one is given only for its place.
func (p *pool) take(config *Config, fresh bool) (*conn, chan *conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := len(p.idle) - 1
	switch {
	case last >= 0 && (!fresh || p.open >= config.Conns):
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		return c, nil, nil
	case p.open < config.Conns:
		p.open++
		return nil, nil, nil
	case len(p.waiting) >= config.Waiting:
		return nil, nil, ErrBusy
	}
	wait := make(chan *conn, 1)
	p.waiting = append(p.waiting, wait)
	return nil, wait, nil
}

// await waits for what take has promised.
func (t *Transport) await(ctx context.Context, wait chan *conn) (*conn, error) {
	timer := time.NewTimer(t.config.WaitTime)
	defer timer.Stop()
	var err error
	select {
	case c := <-wait:
		return c, nil
	case <-timer.C:
		err = fmt.Errorf("wait for a connection: %w", ErrBusy)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	t.pool.mu.Lock()
	i := slices.Index(t.pool.waiting, wait)
	if i >= 0 {
		t.pool.waiting = slices.Delete(t.pool.waiting, i, i+1)
	}
	t.pool.mu.Unlock()
	if i < 0 { // it came in this moment
		if c := <-wait; c != nil {
			t.put(c, true)
		} else {
			t.pool.leave()
		}
	}
	return nil, err
}

// hand gives a connection, or with nil a place, to who has waited longest, and
// reports whether there is anybody. p.mu is held.
func (p *pool) hand(c *conn) bool {
	if len(p.waiting) == 0 {
		return false
	}
	p.waiting[0] <- c
	p.waiting = slices.Delete(p.waiting, 0, 1)
	return true
}

// leave gives a place back.
func (p *pool) leave() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.hand(nil) {
		p.open--
	}
}

// put takes a connection back when all is done with it, and closes it unless it is
// clean.
func (t *Transport) put(c *conn, clean bool) {
	if clean && c.rest() && t.keep(c) {
		return
	}
	c.Close()
	t.pool.leave()
}

func (t *Transport) keep(c *conn) bool {
	p := &t.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hand(c) {
		return true
	}
	if len(p.idle) >= t.config.IdleConns {
		return false
	}
	p.idle = append(p.idle, c)
	if p.sweeper == nil {
		p.sweeper = time.AfterFunc(t.config.IdleTime, func() { t.expire(t.config.IdleTime) })
	} else if p.swept {
		p.sweeper.Reset(t.config.IdleTime)
	}
	p.swept = false
	return true
}

// expire closes the connections that have been idle for that long.
func (t *Transport) expire(idle time.Duration) {
	p := &t.pool
	p.mu.Lock()
	now := t.clock()
	n := 0
	for n < len(p.idle) && now-p.idle[n].idleSince >= idle {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	if p.swept = len(p.idle) == 0; !p.swept {
		p.sweeper.Reset(max(t.config.IdleTime-(now-p.idle[0].idleSince), time.Millisecond))
	} else if p.sweeper != nil {
		p.sweeper.Stop()
	}
	p.mu.Unlock()
	for _, c := range old {
		c.Close()
		p.leave()
	}
}
