// Package locked has a buffer that one test writes and reads at the same time: a log
// that grows while somebody looks at it.
package locked

import (
	"bytes"
	"sync"
)

// A Buffer is a bytes.Buffer for several goroutines. The zero value is empty.
type Buffer struct {
	mu  sync.Mutex
	all bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.Write(p)
}

// String returns all that was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.all.String()
}
