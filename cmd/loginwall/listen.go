package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"

	"github.com/loginwall/loginwall/config"
)

// socketMode lets the user and the group of the wall connect to its socket, so
// that a front proxy gets in by being in that group.
const socketMode = 0o660

// socketOrTCP splits an address of the configuration for package net.
func socketOrTCP(address string) (network, rest string) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix", path
	}
	return "tcp", address
}

// listeners opens what the configuration's listen says.
func (p *program) listeners(ctx context.Context, address string) ([]net.Listener, error) {
	if address == config.ListenSystemd {
		return p.activated()
	}
	l, err := listen(ctx, address)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return []net.Listener{l}, nil
}

// listen listens on host:port or unix:/path. A socket's file goes when its
// listener is closed.
func listen(ctx context.Context, address string) (net.Listener, error) {
	network, rest := socketOrTCP(address)
	if network != "unix" {
		var lc net.ListenConfig
		return lc.Listen(ctx, network, rest)
	}
	l, err := listenUnix(ctx, rest)
	if errors.Is(err, syscall.EADDRINUSE) {
		if err := removeStale(ctx, rest); err != nil {
			return nil, err
		}
		l, err = listenUnix(ctx, rest)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w (create the folder; the wall must be able to write in it)", err)
	}
	return l, err
}

func listenUnix(ctx context.Context, path string) (net.Listener, error) {
	lc := net.ListenConfig{Control: bindWithMode}
	l, err := lc.Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, socketMode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// removeStale takes away the socket of a process that is gone. One that somebody
// listens on stays, and so does what is no socket.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // whoever was there has just left
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is no socket (take it away, or choose another path)")
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		conn.Close()
		return errors.New("another process listens there already (is a wall running?)")
	case !errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("there is a socket, and it is not clear whether somebody listens on it: %w", err)
	}
	// Between the question and the removal another wall may have taken the name.
	if now, err := os.Lstat(path); err != nil || !os.SameFile(info, now) {
		return errors.New("another process listens there already (is a wall running?)")
	}
	return os.Remove(path)
}
