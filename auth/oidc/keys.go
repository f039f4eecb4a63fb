package oidc

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	maxKeys = 100
	// Keys are asked for again after the max-age of the answer, within these bounds.
	minKeyAge, usualKeyAge, maxKeyAge = 5 * time.Minute, time.Hour, 24 * time.Hour
	// A fetch that leads to no verified token counts against this budget.
	fetchWindow, maxFetches = time.Minute, 2
	// patience is how long a token waits for newer keys that known ones verify.
	patience = 3 * time.Second
)

// A keySet is the provider's public keys: fetched when the first token needs
// them, again when they fell due, and when a token comes that none of them
// verifies. When a fetch fails, those that are known serve for maxKeyAge in all.
//
// go-oidc's own set trusts a key until some token fails, so a withdrawn key for
// ever, and fetches once for every bad token.
type keySet struct {
	client    *client
	url       string
	algorithm jose.SignatureAlgorithm

	mu       sync.Mutex // guards the rest
	held     held
	fetching *fetch // under way; nil if none is
	// idle are the fetches of the last minute that led to no verified token.
	idle []time.Time
}

// A fetch is over when done is closed, and only then has its err.
type fetch struct {
	done chan struct{}
	err  error
}

// held is immutable.
type held struct {
	keys         []jose.JSONWebKey
	fetched, due time.Time
}

func newKeySet(c *client, url string, alg jose.SignatureAlgorithm) *keySet {
	return &keySet{client: c, url: url, algorithm: alg}
}

// verify returns the payload of a compact JWS that one of the keys has signed.
func (k *keySet) verify(ctx context.Context, jwt string) ([]byte, *Error) {
	jws, err := jose.ParseSignedCompact(jwt, []jose.SignatureAlgorithm{k.algorithm})
	if err != nil {
		return nil, fail(ReasonBadToken, "the ID token is not a compact JWS signed with %s: %w", k.algorithm, err)
	}
	now := k.client.now()
	have := k.current()
	payload, known := have.verify(jws)
	if known && now.Before(have.due) {
		return payload, nil
	}
	waiting := ctx
	if known {
		var cancel context.CancelFunc
		waiting, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	err = k.refresh(waiting)
	have = k.current()
	payload, known = have.verify(jws)
	switch {
	case known && now.Before(have.fetched.Add(maxKeyAge)):
		k.useful(have.fetched)
		return payload, nil
	case err != nil && !errors.Is(err, errEnough):
		return nil, netError("fetching the provider's keys", err)
	}
	return nil, fail(ReasonBadToken, "no current key of the provider verifies the ID token (key id %q, keys fetched %s ago)",
		clip(jws.Signatures[0].Protected.KeyID), now.Sub(have.fetched).Round(time.Second))
}

// verify tries the keys that the token's key id names, or all if it names none
// (OpenID Connect Core 1.0, section 10.1).
func (h held) verify(jws *jose.JSONWebSignature) ([]byte, bool) {
	kid := jws.Signatures[0].Protected.KeyID
	for i := range h.keys {
		if kid != "" && h.keys[i].KeyID != kid {
			continue
		}
		if payload, err := jws.Verify(h.keys[i].Key); err == nil {
			return payload, true
		}
	}
	return nil, false
}

func (k *keySet) current() held {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.held
}

var errEnough = errors.New("the provider's keys were fetched often enough within the last minute")

// refresh fetches the keys; those who ask at the same time share one fetch, which
// outlives each of them.
func (k *keySet) refresh(ctx context.Context) error {
	k.mu.Lock()
	f := k.fetching
	if f == nil {
		f = &fetch{done: make(chan struct{})}
		k.fetching = f
		go func() {
			f.err = k.fetch(context.WithoutCancel(ctx))
			k.mu.Lock()
			k.fetching = nil
			k.mu.Unlock()
			close(f.done)
		}()
	}
	k.mu.Unlock()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.done:
		return f.err
	}
}

func (k *keySet) fetch(ctx context.Context) error {
	now := k.client.now()
	if !k.begin(now) {
		return errEnough
	}
	body, header, err := k.client.get(ctx, endpointKeys, k.url, "")
	if err != nil {
		return err
	}
	keys, err := parseKeys(body, k.algorithm)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errReply, k.url, err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.held = held{keys: keys, fetched: now, due: now.Add(keyAge(header))}
	return nil
}

// begin takes from the budget of fetches.
func (k *keySet) begin(now time.Time) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = slices.DeleteFunc(k.idle, func(t time.Time) bool { return now.Sub(t).Abs() >= fetchWindow }) // clocks are set back, too
	if len(k.idle) >= maxFetches {
		return false
	}
	k.idle = append(k.idle, now)
	return true
}

// useful gives back to the budget: the fetch brought what was needed. So a
// rotation never waits for the minute to pass, and what it brought to nobody's
// use still counts.
func (k *keySet) useful(fetched time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.idle = slices.DeleteFunc(k.idle, fetched.Equal)
}

// keyAge reads Cache-Control (RFC 9111, section 5.2.2.1).
func keyAge(h http.Header) time.Duration {
	for directive := range strings.SplitSeq(h.Get("Cache-Control"), ",") {
		name, value, _ := strings.Cut(strings.ToLower(strings.TrimSpace(directive)), "=")
		if name != "max-age" {
			continue
		}
		if seconds, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
			return min(max(time.Duration(seconds)*time.Second, minKeyAge), maxKeyAge)
		}
	}
	return usualKeyAge
}

// parseKeys returns the keys of a JWK set (RFC 7517, section 5) that can verify
// the algorithm. Keys that are for something else, or that we cannot read, are
// passed over, as the RFC asks; a set without a single usable key is an error.
func parseKeys(body []byte, alg jose.SignatureAlgorithm) ([]jose.JSONWebKey, error) {
	set, err := parseObject(body)
	if err != nil {
		return nil, err
	}
	var list []json.RawMessage
	if err := json.Unmarshal(set["keys"], &list); err != nil {
		return nil, errors.New("no list of keys")
	}
	if len(list) > maxKeys {
		return nil, fmt.Errorf("more than %d keys", maxKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range list {
		var key jose.JSONWebKey
		if err := key.UnmarshalJSON(raw); err != nil {
			continue
		}
		if (key.Use == "" || key.Use == "sig") && (key.Algorithm == "" || key.Algorithm == string(alg)) && fits(key.Key, alg) {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("no key for %s among %d", alg, len(list))
	}
	return keys, nil
}

// fits also keeps out private and symmetric keys, which a provider publishes by
// mistake only, and sizes that are too weak or that take too long.
func fits(key any, alg jose.SignatureAlgorithm) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		bits := key.N.BitLen()
		return (alg == jose.RS256 || alg == jose.PS256) && bits >= 2048 && bits <= 8192
	case *ecdsa.PublicKey:
		return alg == jose.ES256 && key.Curve == elliptic.P256()
	case ed25519.PublicKey:
		return alg == jose.EdDSA
	}
	return false
}
