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

// AppendFile appends whole lines to a file that it opens for each call and makes if
// need be, for its owner alone: whoever rotates it only has to rename it. With an
// error it returns how many of the bytes are there all the same: a disk that fills up
// takes half a line, which the next call, of whatever process, ends before its own.
func AppendFile(path string, lines []byte) (n int, err error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return 0, err
	}
	broken := len(lines) > 0 && endsInHalf(f)
	if broken {
		lines = append([]byte{'\n'}, lines...)
	}
	n, err = f.Write(lines)
	if closed := f.Close(); err == nil && closed != nil {
		return 0, closed // nobody knows
	}
	if broken && n > 0 {
		n--
	}
	return n, err
}

// endsInHalf tells whether what others wrote ends within a line, as far as we may read.
func endsInHalf(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() || info.Size() == 0 {
		return false
	}
	in, err := os.Open(f.Name())
	if err != nil {
		return false
	}
	defer in.Close()
	var last [1]byte
	_, err = in.ReadAt(last[:], info.Size()-1)
	return err == nil && last[0] != '\n'
}
