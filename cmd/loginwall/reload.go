package main

import (
	"context"
	"crypto/sha256"
	"hash"
	"io"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/config"
)

const (
	// pollFiles is how often the files are looked at. Polling sees what events
	// miss: network file systems, and the renamed link of a Kubernetes volume.
	pollFiles = 500 * time.Millisecond
	// settle is how long a file must lie unchanged: an editor that writes in place
	// leaves half a file for a moment, and half a list of domains is a valid one.
	settle = time.Second
)

// followFiles reloads when one of the files that the configuration is made of has
// changed, or a signal asks for it, until ctx ends.
func (w *wall) followFiles(ctx context.Context, hangup <-chan os.Signal) {
	tick := time.NewTicker(pollFiles)
	defer tick.Stop()
	read := fingerprint(w.site.Load().cfg.Files()) // what was last tried
	latest, since := read, w.program.now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-hangup:
		case now := <-tick.C:
			if current := fingerprint(w.site.Load().cfg.Files()); current != latest {
				latest, since = current, now
			}
			if latest == read || now.Sub(since) < settle {
				continue
			}
		}
		// The fingerprint comes before the reload: what changes in between is a
		// difference that the next look finds. A new list of files is one as well,
		// and costs a second reload of the same.
		read = fingerprint(w.site.Load().cfg.Files())
		latest = read
		w.reload(ctx)
	}
}

// fingerprint tells whether any of the files has changed. It hashes contents:
// times and inodes change without meaning, and stay the same with one.
func fingerprint(files []string) (sum [sha256.Size]byte) {
	h := sha256.New()
	for _, name := range slices.Sorted(slices.Values(files)) {
		writeFile(h, name)
	}
	h.Sum(sum[:0])
	return sum
}

// maxWatched bounds what is read of each file; config refuses longer ones.
const maxWatched = 2 << 20

func writeFile(h hash.Hash, name string) {
	_, _ = io.WriteString(h, name+"\x00")
	f, err := os.Open(name)
	if err != nil {
		_, _ = io.WriteString(h, "absent")
		return
	}
	defer f.Close()
	_, _ = io.Copy(h, io.LimitReader(f, maxWatched))
}

// reload puts a new site in force, whole, or leaves the old one, whole.
func (w *wall) reload(ctx context.Context) {
	w.notify(stateReloading)
	defer w.notify(stateReady) // with the old configuration, too
	before := w.site.Load()
	cfg, warnings, err := config.Load(before.cfg.File(), w.program.env)
	var next *site
	if err == nil {
		next, err = w.build(cfg, before)
	}
	w.metrics.Reloaded(err == nil, w.program.now())
	if err != nil {
		w.log.ErrorContext(ctx, "reload failed; the configuration before stays in force", slog.Any("error", err))
		return
	}
	w.warn(ctx, warnings)
	w.put(next)
	var keys []string // their values may be nobody's business
	for _, change := range config.Diff(before.cfg, cfg) {
		keys = append(keys, change.Key)
		w.log.InfoContext(ctx, "configuration changed", slog.String("key", change.Key),
			slog.String("old", change.Old), slog.String("new", change.New), slog.Bool("needs_restart", change.Restart))
	}
	w.log.InfoContext(ctx, "reloaded")
	// What is in force is recorded, though the wall be about to end.
	if err := w.store.Record(context.WithoutCancel(ctx), auth.Event{At: w.program.now(), Kind: auth.EventReloaded, Actor: "configuration file", Detail: strings.Join(keys, ", ")}); err != nil {
		w.log.ErrorContext(ctx, "event not recorded", slog.Any("error", err))
	}
}

// warn logs what the loader found odd, though not wrong.
func (w *wall) warn(ctx context.Context, warnings []config.Problem) {
	for _, warning := range warnings {
		w.log.WarnContext(ctx, "configuration", slog.String("warning", warning.Error()))
	}
}
