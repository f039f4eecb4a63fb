//go:build !linux && !darwin && !freebsd && !netbsd && !openbsd && !dragonfly

package direct

// lookAt knows no way to look, so no connection is used twice.
func (c *conn) lookAt(uintptr) {}

func tryRead(uintptr, []byte) int { return 0 }
