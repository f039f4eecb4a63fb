package directory

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"

	"github.com/loginwall/loginwall/auth"
	"github.com/loginwall/loginwall/auth/page"
)

const picturePrefix = "/_auth/picture/"

// blank is a picture (GIF) through which the initials behind it are seen.
const blank = "GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"

// portrait is the address of somebody's picture here; empty where there is none. It
// changes with the picture, so that a browser may keep what it got.
func (h *Handler) portrait(id *auth.Identity) string {
	if h.Pictures == nil || !h.Pictures.Admits(id.Picture) {
		return ""
	}
	sum := sha256.Sum256([]byte(id.Picture))
	return picturePrefix + string(id.UserID()) + "?v=" + hex.EncodeToString(sum[:4])
}

// picture is GET /_auth/picture/ID: one's own for everybody, anybody's for admins. Who
// is none is told the same of everybody else, whether there is such a person or not.
func (h *Handler) picture(v *visit) {
	id := v.who.Identity()
	if of := auth.UserID(v.path); of != id.UserID() {
		if !h.isHere() {
			h.problem(v, page.NotFound)
			return
		}
		if !h.enter(v, true) {
			return
		}
		u, err := h.find(v, of)
		if err != nil {
			h.fail(v, "read the user", err)
			return
		}
		id = &u.Identity
	}
	body, status, label := h.Pictures.JPEG(v.r.Context(), id.Picture), http.StatusOK, page.LabelPage
	header := v.w.Header()
	header.Set("Content-Type", "image/jpeg")
	if body == nil {
		body, status, label = []byte(blank), http.StatusNotFound, page.LabelError
		header.Set("Content-Type", "image/gif")
	}
	h.Pages.Secure(header, v.client.RequestID, label)
	header.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	header.Set("Content-Disposition", "inline")
	if status == http.StatusOK {
		header.Set("Cache-Control", "private, max-age=3600")
	}
	header.Set("Content-Length", strconv.Itoa(len(body)))
	v.w.WriteHeader(status)
	_, _ = v.w.Write(body) // the client is gone; there is nobody to tell
}
