package observe

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// linger is how long the first line of a batch waits for company. Nobody who
// reads a log notices, and a busy wall makes one system call for many lines.
const linger = 5 * time.Millisecond

// A Queue stands between everybody who logs and a writer that may block, such
// as a pipe whose reader stopped. Write copies the line into a bounded buffer
// and returns; one goroutine carries batches to the writer. When the buffer is
// full, whole lines are dropped and counted: the log is not worth a request.
//
// It is safe for concurrent use.
type Queue struct {
	to      io.Writer
	limit   int
	lost    func(lines int64)
	dropped atomic.Int64
	wake    chan struct{} // holds one token while pending is not empty
	done    chan struct{} // closed when the last batch was written

	mu      sync.Mutex
	pending []byte
	closed  bool
}

// NewQueue starts a queue of at most limit bytes in front of to. Each Write
// must be one whole line. The func lost, unless nil, is told after a jam how
// many lines were dropped; it may log through this same queue. Close ends the
// queue.
func NewQueue(to io.Writer, limit int, lost func(lines int64)) *Queue {
	q := &Queue{to: to, limit: limit, lost: lost, wake: make(chan struct{}, 1), done: make(chan struct{})}
	go q.run()
	return q
}

// Write takes one line. It never blocks on the writer behind and never fails.
func (q *Queue) Write(line []byte) (int, error) {
	q.mu.Lock()
	if q.closed || len(q.pending)+len(line) > q.limit {
		q.mu.Unlock()
		q.dropped.Add(1)
		return len(line), nil
	}
	first := len(q.pending) == 0
	q.pending = append(q.pending, line...)
	q.mu.Unlock()
	if first {
		q.signal()
	}
	return len(line), nil
}

// Dropped returns how many lines were dropped so far.
func (q *Queue) Dropped() int64 { return q.dropped.Load() }

// Close writes what is pending and ends the queue; lines that come later are
// dropped. It waits no longer than ctx allows, because the writer may hang.
func (q *Queue) Close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *Queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default: // the token is there already
	}
}

func (q *Queue) run() {
	defer close(q.done)
	var batch []byte
	var told int64
	for range q.wake {
		time.Sleep(linger)
		q.mu.Lock()
		batch, q.pending = q.pending, batch[:0]
		closed := q.closed
		q.mu.Unlock()
		if len(batch) > 0 {
			// An error of the writer (a closed pipe) is not ours to report anywhere.
			_, _ = q.to.Write(batch)
		}
		if closed {
			return
		}
		if n := q.dropped.Load(); n > told && q.lost != nil {
			q.lost(n - told)
			told = n
		}
	}
}
