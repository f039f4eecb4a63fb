package observe

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// How much of each value that strangers choose goes into a line, in bytes.
const (
	maxMethod = 32
	maxHost   = 256
	maxPath   = 2048
	maxAgent  = 256
)

// A Record is one line of the access log.
type Record struct {
	// Time is when the request came in.
	Time      time.Time
	RequestID string
	Method    string
	Host      string
	// Path is the path as it came in, escaped as the client escaped it, and
	// never the query.
	Path   string
	Status int
	// Bytes counts the body of the answer, before any transfer coding.
	Bytes int64
	// Duration is the whole time in the wall; Upstream the part of it until the
	// upstream's answer began, zero for what was not forwarded.
	Duration, Upstream time.Duration
	// Client is the address of the client; Agent its User-Agent.
	Client, Agent string
	// User and UserID are empty for requests without a session.
	User, UserID string
	// Rule is the rule that decided, in words.
	Rule string
	// Reason is a fixed word for why it did not go well: that of the policy, or what
	// was wrong with the upstream. Mostly it is empty.
	Reason  string
	Outcome Outcome
}

// An AccessLog writes one line for each request. A nil *AccessLog writes none,
// so the log can be off. It is safe for concurrent use.
type AccessLog struct {
	to   io.Writer
	text *slog.Logger // nil for JSON
	pool sync.Pool
}

// NewAccessLog returns a log of one JSON object a line, or of slog's text form.
// The writer gets each line in one Write, which should not block (see Queue).
func NewAccessLog(to io.Writer, text bool) *AccessLog {
	l := &AccessLog{to: to}
	l.pool.New = func() any { b := make([]byte, 0, 1024); return &b }
	if text {
		l.text = slog.New(slog.NewTextHandler(to, nil))
	}
	return l
}

// Log writes r as one line; trace is that of the request, or nil.
func (l *AccessLog) Log(r *Record, trace *Trace) {
	if l == nil {
		return
	}
	if l.text != nil {
		l.logText(r, trace)
		return
	}
	buf, _ := l.pool.Get().(*[]byte)
	line := r.appendJSON((*buf)[:0], trace.ID())
	// An access log that cannot be written has nowhere to say so.
	_, _ = l.to.Write(line)
	*buf = line
	l.pool.Put(buf)
}

func (l *AccessLog) logText(r *Record, trace *Trace) {
	attrs := make([]slog.Attr, 0, 18)
	attrs = append(attrs,
		slog.String("request_id", r.RequestID),
		slog.String("method", plainText(r.Method, maxMethod)),
		slog.String("host", plainText(r.Host, maxHost)),
		slog.String("path", plainText(r.Path, maxPath)),
		slog.Int("status", r.Status),
		slog.Int64("bytes", r.Bytes),
		slog.Duration("duration", r.Duration.Round(time.Microsecond)))
	if id := trace.ID(); id != "" {
		attrs = append(attrs, slog.String("trace_id", id))
	}
	if r.Upstream > 0 {
		attrs = append(attrs, slog.Duration("upstream", r.Upstream.Round(time.Microsecond)))
	}
	attrs = append(attrs, slog.String("client", plainText(r.Client, maxHost)))
	if r.User != "" || r.UserID != "" {
		attrs = append(attrs, slog.String("user", plainText(r.User, maxHost)), slog.String("user_id", r.UserID))
	}
	if r.Rule != "" {
		attrs = append(attrs, slog.String("rule", plainText(r.Rule, maxHost)))
	}
	if r.Reason != "" {
		attrs = append(attrs, slog.String("reason", plainText(r.Reason, maxMethod)))
	}
	attrs = append(attrs, slog.String("outcome", r.Outcome.String()), slog.String("user_agent", plainText(r.Agent, maxAgent)))
	l.text.LogAttrs(context.Background(), slog.LevelInfo, "request", attrs...)
}

// appendJSON writes by hand what slog's JSONHandler would write in the same
// order, since this runs once for every request.
func (r *Record) appendJSON(b []byte, traceID string) []byte {
	b = append(b, `{"time":"`...)
	// Of all layouts this is the one that is quick; it has no milliseconds.
	b = bytes.TrimSuffix(r.Time.UTC().AppendFormat(b, time.RFC3339), []byte("Z"))
	ms := r.Time.Nanosecond() / 1e6
	b = append(b, '.', '0'+byte(ms/100), '0'+byte(ms/10%10), '0'+byte(ms%10))
	b = append(b, `Z","level":"INFO","msg":"request"`...)
	b = appendField(b, "request_id", r.RequestID, maxRequestID)
	if traceID != "" {
		b = appendField(b, "trace_id", traceID, maxRequestID)
	}
	b = appendField(b, "method", r.Method, maxMethod)
	b = appendField(b, "host", r.Host, maxHost)
	b = appendField(b, "path", r.Path, maxPath)
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(r.Status), 10)
	b = append(b, `,"bytes":`...)
	b = strconv.AppendInt(b, r.Bytes, 10)
	b = append(b, `,"duration_ms":`...)
	b = appendMillis(b, r.Duration)
	if r.Upstream > 0 {
		b = append(b, `,"upstream_ms":`...)
		b = appendMillis(b, r.Upstream)
	}
	b = appendField(b, "client", r.Client, maxHost)
	if r.User != "" || r.UserID != "" {
		b = appendField(b, "user", r.User, maxHost)
		b = appendField(b, "user_id", r.UserID, maxRequestID)
	}
	if r.Rule != "" {
		b = appendField(b, "rule", r.Rule, maxHost)
	}
	if r.Reason != "" {
		b = appendField(b, "reason", r.Reason, maxMethod)
	}
	b = appendField(b, "outcome", r.Outcome.String(), maxMethod)
	b = appendField(b, "user_agent", r.Agent, maxAgent)
	return append(b, "}\n"...)
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendFloat(b, float64(d.Microseconds())/1000, 'f', 3, 64)
}

// cut shortens s to at most limit bytes, on the border of a rune.
func cut(s string, limit int) string {
	if len(s) <= limit {
		return s
	}
	for limit > 0 && !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

// plainText is cut for the text form; it escapes itself what a terminal would
// obey, since slog's TextHandler lets DEL pass.
func plainText(s string, limit int) string {
	s = cut(s, limit)
	for _, r := range s {
		if !unicode.IsPrint(r) {
			quoted := strconv.Quote(s)
			return quoted[1 : len(quoted)-1]
		}
	}
	return s
}

// appendField adds ,"name":"value". It escapes more than JSON asks for: all that
// is not printable, since people look at logs in terminals.
func appendField(b []byte, name, value string, limit int) []byte {
	b = append(b, ',', '"')
	b = append(b, name...)
	b = append(b, '"', ':', '"')
	value = cut(value, limit)
	start := 0
	for i := 0; i < len(value); {
		c := value[i]
		if ' ' <= c && c <= '~' && c != '"' && c != '\\' {
			i++
			continue
		}
		b = append(b, value[start:i]...)
		size := 1
		switch {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < utf8.RuneSelf:
			b = appendEscape(b, rune(c))
		default:
			var r rune
			r, size = utf8.DecodeRuneInString(value[i:])
			switch {
			case r == utf8.RuneError:
				b = append(b, `\ufffd`...)
			case unicode.IsPrint(r):
				b = utf8.AppendRune(b, r)
			default:
				b = appendEscape(b, r)
			}
		}
		i += size
		start = i
	}
	b = append(b, value[start:]...)
	return append(b, '"')
}

func appendEscape(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	if r > 0xffff { // a surrogate pair, as JSON writes it
		r -= 0x10000
		b = appendEscape(b, 0xd800+r>>10)
		return appendEscape(b, 0xdc00+r&0x3ff)
	}
	return append(b, '\\', 'u', hex[r>>12&15], hex[r>>8&15], hex[r>>4&15], hex[r&15])
}
