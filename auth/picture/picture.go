package picture

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"
)

const (
	// fetchTime is how long one picture may take, from the name's lookup to the last
	// pixel, and how long a request waits for its turn.
	fetchTime = 5 * time.Second
	// maxFetches bounds the pictures that are fetched at once, and with them memory:
	// each may take 12 MiB for a moment.
	maxFetches = 4
	// maxHeld is how many pictures are kept, of about 4 KiB each.
	maxHeld = 1000
	// keep is how long a picture is kept, and forget how long none is looked for.
	keep, forget = time.Hour, 10 * time.Minute
	// quiet is how long nothing is logged after a failure was.
	quiet = time.Hour
)

// Config says whose pictures are fetched. Issuer, Log and Now are required.
type Config struct {
	// Issuer is the provider's; pictures on its origin are fetched if that is https.
	Issuer string
	// Google says that the provider is Google, whose pictures lie elsewhere.
	Google bool
	// RootCAs are those whom the provider's certificate is checked with; nil means the
	// system's.
	RootCAs *x509.CertPool
	// Resolver looks names up; nil means the system's.
	Resolver *net.Resolver
	Log      *slog.Logger
	Now      func() time.Time
}

// A Gallery fetches pictures and keeps the latest. It is safe for concurrent use.
type Gallery struct {
	config Config
	issuer string // its host:port, empty if it is not https
	client *http.Client
	held   *otter.Cache[string, held]
	slots  chan struct{}
	quiet  atomic.Int64 // nothing is logged before this time, in Unix nanoseconds
}

// held is a picture, or that there is none, until it is looked for anew.
type held struct {
	jpeg  []byte
	until time.Time
}

// New checks the configuration.
func New(c Config) (*Gallery, error) {
	if c.Issuer == "" || c.Log == nil || c.Now == nil {
		return nil, errors.New("picture: something required is missing in the Config")
	}
	issuer, err := url.Parse(c.Issuer)
	if err != nil {
		return nil, fmt.Errorf("picture: read the issuer: %w", err)
	}
	cache, err := otter.New(&otter.Options[string, held]{
		MaximumSize: maxHeld,
		Executor:    func(run func()) { run() }, // no goroutine that a reload would leave behind
	})
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	g := &Gallery{config: c, held: cache, slots: make(chan struct{}, maxFetches)}
	if issuer.Scheme == "https" {
		g.issuer = authority(issuer)
	}
	g.client = g.newClient()
	return g, nil
}

// JPEG returns the picture at an address that a claim named. It is nil where there is
// none to show, for whatever reason, and where ctx ends before there is.
func (g *Gallery) JPEG(ctx context.Context, address string) []byte {
	if !g.Admits(address) {
		return nil
	}
	if known, ok := g.held.GetIfPresent(address); ok {
		if g.config.Now().Before(known.until) {
			return known.jpeg
		}
		g.held.Invalidate(address)
	}
	known, err := g.held.Get(ctx, address, otter.LoaderFunc[string, held](g.load))
	if err != nil {
		return nil
	}
	return known.jpeg
}

// load fetches a picture, once for all who wait for it.
func (g *Gallery) load(ctx context.Context, address string) (held, error) {
	turn, cancel := context.WithTimeout(ctx, fetchTime)
	defer cancel()
	select {
	case g.slots <- struct{}{}:
		defer func() { <-g.slots }()
	case <-turn.Done():
		return held{}, turn.Err() // which says nothing about the picture
	}
	// What has begun is finished and kept, though who asked goes away: else to ask and
	// to leave would make it work again and again.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), fetchTime)
	defer cancel()
	jpeg, err := g.fetch(limited, address)
	if err == nil {
		return held{jpeg, g.config.Now().Add(keep)}, nil
	}
	g.tell(ctx, address, err)
	return held{nil, g.config.Now().Add(forget)}, nil
}

// tell logs a failure, unless there was one of late. The address stays out of the log:
// at some providers it is a secret of its own, and it always says who was looked at.
func (g *Gallery) tell(ctx context.Context, address string, err error) {
	now, until := g.config.Now(), g.quiet.Load()
	if now.UnixNano() < until || !g.quiet.CompareAndSwap(until, now.Add(quiet).UnixNano()) {
		return
	}
	host := ""
	if u, err := url.Parse(address); err == nil {
		host = u.Host
	}
	g.config.Log.WarnContext(ctx, "a picture cannot be shown, and others may not be; this is said once an hour",
		slog.String("host", host), slog.Any("error", err))
}
