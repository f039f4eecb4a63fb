//go:build !linux

package main

import "syscall"

// bindWithMode does nothing: only Linux makes the file of a socket with the mode
// of the socket itself. Elsewhere the umask decides, for a moment.
func bindWithMode(_, _ string, _ syscall.RawConn) error { return nil }
