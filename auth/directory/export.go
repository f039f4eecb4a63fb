package directory

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"net/http"
	"time"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
	"github.com/loginwall/loginwall/auth/policy"
	"github.com/loginwall/loginwall/auth/store"
)

const (
	// exportStep is after how many rows an export looks whether it may go on, and
	// exportStall how long the reader may take for as many.
	exportStep  = 500
	exportStall = time.Minute
)

var errShut = errors.New("the reader is not let in any more")

// exportUsers is GET /_auth/users/export.csv and .json: all that a list's filters
// select, streamed.
func (h *Handler) exportUsers(v *visit) {
	q, err := v.query(exportFields()...)
	if err != nil {
		h.fail(v, "export users", err)
		return
	}
	filter, err := h.filter(q)
	if err != nil {
		h.fail(v, "export users", err)
		return
	}
	users := watched(h, v, h.Store.AllUsers(v.r.Context(), filter))
	if v.path == "export.csv" {
		h.download(v, "text/csv; charset=utf-8", "users.csv", func(w io.Writer) error { return WriteCSV(w, users) })
		return
	}
	h.download(v, "application/json", "users.json", func(w io.Writer) error { return WriteArray(w, users, NewUserRow) })
}

// exportUser is GET /_auth/users/ID/export.json: everything that is known about one.
func (h *Handler) exportUser(v *visit, u auth.User) {
	if _, err := v.query(); err != nil {
		h.fail(v, "export a user", err)
		return
	}
	ctx := v.r.Context()
	h.download(v, "application/json", "user.json", func(w io.Writer) error {
		b, err := json.Marshal(NewUserRow(u))
		if err != nil {
			return fmt.Errorf("encode the user: %w", err)
		}
		if _, err := fmt.Fprintf(w, "{\"user\": %s,\n\"sessions\": ", b); err != nil {
			return err
		}
		if err := WriteArray(w, watched(h, v, h.Store.AllSessions(ctx, store.SessionQuery{User: u.ID})), NewSessionRow); err != nil {
			return err
		}
		if _, err := io.WriteString(w, ",\n\"events\": "); err != nil {
			return err
		}
		if err := WriteArray(w, watched(h, v, h.Store.AllEvents(ctx, store.EventQuery{User: u.ID})), newEventRow); err != nil {
			return err
		}
		_, err = io.WriteString(w, "}\n")
		return err
	})
}

// download streams a file. Where it fails the connection ends before the file
// does, so that nobody takes a part for the whole.
func (h *Handler) download(v *visit, contentType, name string, write func(io.Writer) error) {
	header := v.w.Header()
	h.Pages.Secure(header, v.client.RequestID, page.LabelPage)
	header.Set("Content-Type", contentType)
	header.Set("Content-Disposition", `attachment; filename="`+name+`"`)
	v.w.WriteHeader(http.StatusOK)
	if v.r.Method == http.MethodHead {
		return
	}
	h.Log.InfoContext(v.r.Context(), "users exported", slog.String("request_id", v.client.RequestID),
		slog.String("by", v.who.Identity().Email), slog.String("client", v.client.Address), slog.String("file", name))
	out := bufio.NewWriterSize(v.w, 32<<10)
	err := write(out)
	if err == nil {
		err = out.Flush()
	}
	if err != nil {
		h.Log.WarnContext(v.r.Context(), "an export ended early", slog.String("request_id", v.client.RequestID), slog.Any("error", err))
		panic(http.ErrAbortHandler)
	}
}

// watched asks the gate again and again while rows go by, and gives the reader time
// for those to come.
func watched[T any](h *Handler, v *visit, rows iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		n := 0
		for row, err := range rows {
			if n%exportStep == 0 && err == nil {
				d, failure := h.InForce().DecideOwn(true, v.r.Header["Cookie"])
				if failure != nil || d.Verdict() != policy.Allow {
					err = errShut
				}
				// Where the connection knows no deadlines there is none to set.
				_ = http.NewResponseController(v.w).SetWriteDeadline(h.Now().Add(exportStall))
			}
			n++
			if !yield(row, err) {
				return
			}
		}
	}
}
