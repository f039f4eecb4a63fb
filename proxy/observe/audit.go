package observe

import (
	"context"
	"io"
	"log/slog"
	"os"
	"time"
)

// An AuditEvent is one line of the audit stream: who did what to whom, when, from
// where. Each text but Event may be empty.
type AuditEvent struct {
	Time time.Time
	// Event is a fixed word; Actor an address, or what stands for the command line.
	Event, Actor string
	// User, UserID and Session are whom it was done to.
	User, UserID, Session string
	Client                string
	// Detail is a reason in short.
	Detail string
	// RequestID leads to the access log.
	RequestID string
}

// LogAudit writes e as one line in one Write, in the form and with the names of the
// access log; text is for terminals.
func LogAudit(to io.Writer, text bool, e *AuditEvent) {
	fields := []struct{ name, value string }{
		{"event", e.Event},
		{"actor", e.Actor},
		{"user", e.User},
		{"user_id", e.UserID},
		{"session", e.Session},
		{"client", e.Client},
		{"detail", e.Detail},
		{"request_id", e.RequestID},
	}
	if text {
		var attrs []slog.Attr
		for _, f := range fields {
			if f.value != "" {
				attrs = append(attrs, slog.String(f.name, plainText(f.value, maxPath)))
			}
		}
		slog.New(slog.NewTextHandler(to, nil)).LogAttrs(context.Background(), slog.LevelInfo, "audit", attrs...)
		return
	}
	line := []byte(`{"time":"`)
	line = e.Time.UTC().AppendFormat(line, "2006-01-02T15:04:05.000Z07:00")
	line = append(line, `","level":"INFO","msg":"audit"`...)
	for _, f := range fields {
		if f.value != "" {
			line = appendField(line, f.name, f.value, maxPath)
		}
	}
	_, _ = to.Write(append(line, "}\n"...)) // whoever writes says what was lost
}

// AppendFile appends to a file that it opens for each call and makes if need be, for
// its owner alone: whoever rotates it only has to rename it.
func AppendFile(path string, p []byte) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	if closed := f.Close(); err == nil {
		err = closed
	}
	return err
}
