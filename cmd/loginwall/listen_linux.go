package main

import "syscall"

// bindWithMode gives a socket the mode that its file will have at most, whatever
// the umask: Linux makes the file with the mode of the socket itself.
func bindWithMode(_, _ string, c syscall.RawConn) error {
	return c.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), socketMode) })
}
