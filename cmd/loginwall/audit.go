package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/config"
	"github.com/loginwall/loginwall/proxy/observe"
)

// recorded writes the audit stream: what the store has on disk, and nothing else.
func (w *wall) recorded(ctx context.Context, e auth.Event) {
	log := w.site.Load().cfg.Log
	switch {
	case log.Audit == config.AuditOff:
	case log.Audit == config.AuditStderr:
		observe.LogAudit(w.queue, textLog(log.Format, w.program.log), auditEvent(ctx, &e))
	default:
		observe.LogAudit(w.audit, false, auditEvent(ctx, &e))
	}
}

// recorded is for the command line, beside a wall: its own stderr is a person's, and
// no part of the wall's log.
func (p *program) recorded(cfg *config.Config) func(context.Context, auth.Event) {
	path, ok := strings.CutPrefix(cfg.Log.Audit, config.AuditFile)
	if !ok {
		return nil
	}
	return func(ctx context.Context, e auth.Event) {
		var line bytes.Buffer
		observe.LogAudit(&line, false, auditEvent(ctx, &e))
		if _, err := observe.AppendFile(path, line.Bytes()); err != nil {
			fmt.Fprintf(p.stderr, "warning: done, and recorded in the store, but not in the audit stream: %v\n", err)
		}
	}
}

func auditEvent(ctx context.Context, e *auth.Event) *observe.AuditEvent {
	return &observe.AuditEvent{
		Time: e.At, Event: string(e.Kind), Actor: e.Actor, User: e.Email, UserID: string(e.User), Session: string(e.Session),
		Client: e.Address, Detail: e.Detail, RequestID: auth.ClientOf(ctx).RequestID,
	}
}

// auditable reports where the file that log.audit names cannot be written to, which
// is better found at the start than at the first sign-in.
func auditable(cfg *config.Config) error {
	path, ok := strings.CutPrefix(cfg.Log.Audit, config.AuditFile)
	if !ok {
		return nil
	}
	if _, err := observe.AppendFile(path, nil); err != nil {
		return cfg.Problem("log.audit", err.Error(), "make its folder writable for the user that runs the wall")
	}
	return nil
}

// An auditFile is the writer behind the queue: the file that the site in force
// names. The lines that it does not take whole go to stderr.
type auditFile struct{ w *wall }

// Write takes whole lines.
func (a auditFile) Write(lines []byte) (int, error) {
	rest := lines
	if path, ok := strings.CutPrefix(a.w.site.Load().cfg.Log.Audit, config.AuditFile); ok {
		n, err := observe.AppendFile(path, lines)
		if err == nil {
			return n, nil
		}
		rest = lines[bytes.LastIndexByte(lines[:n], '\n')+1:] // half a line is none
		a.w.log.Error("the audit stream goes to stderr: its file cannot be written", slog.Any("error", err))
	}
	for line := range bytes.Lines(rest) {
		_, _ = a.w.queue.Write(line) // which counts what it drops
	}
	return len(lines), nil
}
