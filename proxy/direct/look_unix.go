//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package direct

import "syscall"

// lookAt sees whether anything waits to be read, be it the end, and leaves it.
func (c *conn) lookAt(fd uintptr) {
	var b [1]byte
	_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	c.silent = err == syscall.EAGAIN //nolint:errorlint // a system call's own number
}

func tryRead(fd uintptr, p []byte) int {
	n, _ := syscall.Read(int(fd), p)
	return n
}
