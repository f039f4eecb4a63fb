package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// What systemd and a service tell each other is a few variables of the
// environment and one datagram: sd_listen_fds(3), sd_notify(3) and
// sd_watchdog_enabled(3). Without systemd nothing of it is there, and nothing of
// this does anything.

// firstActivated is the descriptor of the first socket that systemd passes.
const firstActivated = 3

// activated returns the sockets that systemd opened for this process. Closing them
// removes no file: the files are systemd's.
func (p *program) activated() ([]net.Listener, error) {
	count, _ := strconv.Atoi(p.variable("LISTEN_FDS"))
	if p.variable("LISTEN_PID") != strconv.Itoa(os.Getpid()) || count < 1 {
		return nil, errors.New("systemd passed no socket to this process (start it by its .socket unit, or name an address in listen)")
	}
	var all []net.Listener
	for i := range count {
		f := os.NewFile(uintptr(firstActivated+i), "socket of systemd")
		l, err := net.FileListener(f) // of a copy, which no child inherits
		f.Close()
		if err != nil {
			closeAll(all)
			return nil, fmt.Errorf("socket %d of %d that systemd passed (want ListenStream=, and Accept=no): %w", i+1, count, err)
		}
		all = append(all, l)
	}
	return all, nil
}

// variable returns what stands in the environment, or nothing.
func (p *program) variable(name string) string {
	value, _ := p.env(name)
	return value
}

// The states that systemd is told.
const (
	stateReady     = "READY=1"
	stateReloading = "RELOADING=1"
	stateStopping  = "STOPPING=1"
	stateAlive     = "WATCHDOG=1"
)

// notify tells systemd the state of the service, if it wants to know.
func (w *wall) notify(state string) {
	address := w.program.variable("NOTIFY_SOCKET")
	if address == "" {
		return
	}
	// A name with @ in front is an abstract one, for package net as for systemd.
	conn, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: address, Net: "unixgram"})
	if err == nil {
		_, err = conn.Write([]byte(state))
		err = errors.Join(err, conn.Close())
	}
	if err != nil {
		w.log.Warn("systemd was not told", slog.String("state", state), slog.Any("error", err))
	}
}

// watchdogInterval returns how often systemd wants to hear that the wall lives: at
// half the time after which it takes it for dead. 0 is never.
func (p *program) watchdogInterval() time.Duration {
	if pid := p.variable("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	us, err := strconv.ParseInt(p.variable("WATCHDOG_USEC"), 10, 64)
	if err != nil || us <= 0 {
		return 0
	}
	return time.Duration(us) * time.Microsecond / 2
}

// watchdog tells systemd that the wall lives for as long as it does what it is
// for: it is asked on its own address, as a client asks. A wall that drains takes
// no more connections, and lives.
func (w *wall) watchdog(ctx context.Context, every time.Duration, alive func(context.Context) error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		asking, cancel := context.WithTimeout(ctx, every)
		err := alive(asking)
		cancel()
		if err != nil && !w.draining.Load() {
			w.log.WarnContext(ctx, "the wall does not answer itself; systemd's watchdog is not told that it lives", slog.Any("error", err))
			continue
		}
		w.notify(stateAlive)
	}
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}

// addresses names what listens, for the log.
func addresses(listeners []net.Listener) string {
	var all []string
	for _, l := range listeners {
		all = append(all, l.Addr().String())
	}
	return strings.Join(all, ", ")
}
