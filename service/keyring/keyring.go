package keyring

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Ring holds all tenants' signing keys. It is safe for concurrent use, also by several processes on one store.
type Ring struct {
	store  *db.DB
	box    *atrest.Box
	log    *slog.Logger
	parsed parsed
}

// New returns a ring over a store. A nil logger discards.
func New(store *db.DB, box *atrest.Box, log *slog.Logger) *Ring {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Ring{store: store, box: box, log: log}
}

// Sign signs claims, encoded as JSON, with the tenant's current key for the algorithm ([ES256] or [RS256]) and returns the
// compact form (RFC 7515 §3.1). typ is the header's type ("JWT", "at+jwt", "logout+jwt"): [Ring.Verify] tells kinds of
// tokens apart by it (RFC 8725 §3.11). The token's life must not exceed [LongestToken]. The line's first key is made when there is
// none; see [Ring.Prepare].
func (r *Ring) Sign(ctx context.Context, scope tenant.Scope, algorithm, typ string, claims any, now time.Time) (string, error) {
	id, err := scope.ID()
	if err != nil {
		return "", err
	}
	if err := checkAlgorithm(algorithm); err != nil {
		return "", err
	}
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("keyring: encoding claims: %w", err)
	}
	if len(payload) > maxPayload {
		return "", fmt.Errorf("keyring: claims of %d bytes, %d are allowed", len(payload), maxPayload)
	}
	for range 2 {
		keys, err := line(ctx, r.store.Reader(), id, algorithm)
		if err != nil {
			return "", err
		}
		if i := Signer(timesOf(keys), now); i >= 0 {
			private, err := r.private(ctx, id, keys[i].id)
			if err != nil {
				return "", err
			}
			return sign(private, keys[i].id, algorithm, typ, payload)
		}
		if err := r.turn(ctx, id, algorithm, false, now); err != nil {
			return "", err
		}
	}
	return "", errors.New("keyring: no key signs now: does this clock run behind the one that made the keys?")
}

// Prepare makes the line's first key when it has none, so that it is published before anything is signed with it. Call it when
// an application is set to an algorithm; without, the first token is signed with a key that clients which have cached the
// JWKS may not know yet.
func (r *Ring) Prepare(ctx context.Context, scope tenant.Scope, algorithm string, now time.Time) error {
	id, err := scope.ID()
	if err != nil {
		return err
	}
	if err := checkAlgorithm(algorithm); err != nil {
		return err
	}
	keys, err := line(ctx, r.store.Reader(), id, algorithm)
	if err != nil {
		return err
	}
	if Signer(timesOf(keys), now) >= 0 {
		return nil
	}
	return r.turn(ctx, id, algorithm, false, now)
}

// PublicKeys returns the tenant's JWKS (RFC 7517 §5): every key that waits, signs, or has signed a token that may still be alive.
// It may be cached for at most [CacheLife]. An [ES256] key is made when the tenant has none, so that nobody ever caches an
// empty set.
func (r *Ring) PublicKeys(ctx context.Context, scope tenant.Scope, now time.Time) ([]byte, error) {
	if err := r.Prepare(ctx, scope, ES256, now); err != nil {
		return nil, err
	}
	id, err := scope.ID()
	if err != nil {
		return nil, err
	}
	keys, err := line(ctx, r.store.Reader(), id, "")
	if err != nil {
		return nil, err
	}
	set := struct {
		Keys []json.RawMessage `json:"keys"`
	}{Keys: []json.RawMessage{}}
	for _, k := range keys {
		if k.times.Published(now) {
			set.Keys = append(set.Keys, json.RawMessage(k.public))
		}
	}
	out, err := json.Marshal(set)
	if err != nil {
		return nil, fmt.Errorf("keyring: encoding the key set: %w", err)
	}
	return out, nil
}

// Verify proves that this ring signed the compact token for this tenant, with this type, by a key that is still published, and
// returns the payload. It looks at no claim: expiry, issuer and audience are the caller's. A refusal is the fault
// [wire.Unauthenticated].
func (r *Ring) Verify(ctx context.Context, scope tenant.Scope, compact, typ string, now time.Time) ([]byte, error) {
	id, err := scope.ID()
	if err != nil {
		return nil, err
	}
	token, err := parse(compact, typ)
	if err != nil {
		return nil, fault.Wrap(wire.Unauthenticated, "the token cannot be read", err)
	}
	k, ok, err := byID(ctx, r.store.Reader(), id, token.kid)
	if err != nil {
		return nil, err
	}
	if !ok || !k.times.Published(now) {
		return nil, fault.New(wire.Unauthenticated, "the token's key is not one of this tenant's")
	}
	if k.algorithm != token.algorithm {
		return nil, fault.Newf(wire.Unauthenticated, "the token names %s, its key is for %s", token.algorithm, k.algorithm)
	}
	public, err := parsePublic(k.public)
	if err != nil {
		return nil, err
	}
	payload, err := token.jws.Verify(public)
	if err != nil {
		return nil, fault.Wrap(wire.Unauthenticated, "the token's signature", err)
	}
	return payload, nil
}

// Rotate begins the succession of a line's key now instead of at the end of its period: a new key is published at once and
// signs after [CacheLife]; nothing breaks. If a successor waits already, nothing happens.
func (r *Ring) Rotate(ctx context.Context, scope tenant.Scope, algorithm string, now time.Time) error {
	id, err := scope.ID()
	if err != nil {
		return err
	}
	if err := checkAlgorithm(algorithm); err != nil {
		return err
	}
	return r.turn(ctx, id, algorithm, true, now)
}

// Replace is for a key that is known or feared to be stolen: all keys of the line leave the JWKS at once, and a new one signs
// from now on. What this breaks cannot be helped: tokens signed before are refused by everyone who fetches the JWKS
// again; clients that hold an older JWKS refuse new tokens until they fetch it (most do so when they meet an unknown
// key), and until then, at worst [CacheLife], they go on believing the stolen key. Other processes of the service
// sign with the new key from their next token on.
func (r *Ring) Replace(ctx context.Context, scope tenant.Scope, algorithm string, now time.Time) error {
	id, err := scope.ID()
	if err != nil {
		return err
	}
	fresh, sealed, err := r.mintSealed(id, algorithm)
	if err != nil {
		return err
	}
	var gone []key
	err = r.store.Write(ctx, func(tx db.Querier) error {
		if gone, err = line(ctx, tx, id, algorithm); err != nil {
			return err
		}
		for _, k := range gone {
			if err := forget(ctx, tx, id, k.id); err != nil {
				return err
			}
		}
		return insert(ctx, tx, id, fresh, sealed, first(now))
	})
	if err != nil {
		return err
	}
	for _, k := range gone {
		r.parsed.drop(parsedID{id, k.id})
	}
	r.log.LogAttrs(ctx, slog.LevelWarn, "signing keys replaced at once", slog.String("tenant", id),
		slog.String("algorithm", algorithm), slog.Int("removed", len(gone)), slog.String("key", fresh.id))
	return nil
}

// Run turns all tenants' keys over when their time has come, until ctx ends; it returns ctx's error. A failed turn is logged
// and tried again at the next; any number of processes may run it at once.
func (r *Ring) Run(ctx context.Context) error {
	ticker := time.NewTicker(turnEvery)
	defer ticker.Stop()
	for {
		if err := r.turnAll(ctx, time.Now()); err != nil && ctx.Err() == nil {
			r.log.LogAttrs(ctx, slog.LevelError, "turning signing keys over", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// turnAll turns every line; one that fails does not keep the others from turning.
func (r *Ring) turnAll(ctx context.Context, now time.Time) error {
	all, err := lines(ctx, r.store.Reader())
	if err != nil {
		return err
	}
	var failures []error
	for _, l := range all {
		if err := r.turn(ctx, l[0], l[1], false, now); err != nil {
			failures = append(failures, fmt.Errorf("tenant %s, %s: %w", l[0], l[1], err))
		}
	}
	return errors.Join(failures...)
}

// turn does to one line what the rule says. The rule is asked twice: outside the transaction, because making a key takes
// long and is mostly not needed, and again inside it, because another process may have been first.
func (r *Ring) turn(ctx context.Context, tenantID, algorithm string, early bool, now time.Time) error {
	keys, err := line(ctx, r.store.Reader(), tenantID, algorithm)
	if err != nil {
		return err
	}
	step := Plan(timesOf(keys), early, now)
	if !step.Make && len(step.Forget) == 0 {
		return nil
	}
	var fresh minted
	var sealed []byte
	if step.Make {
		if fresh, sealed, err = r.mintSealed(tenantID, algorithm); err != nil {
			return err
		}
	}
	var made bool
	var forgotten []string
	err = r.store.Write(ctx, func(tx db.Querier) error {
		made, forgotten = false, nil
		keys, err := line(ctx, tx, tenantID, algorithm)
		if err != nil {
			return err
		}
		step := Plan(timesOf(keys), early, now)
		for _, i := range step.Forget {
			if err := forget(ctx, tx, tenantID, keys[i].id); err != nil {
				return err
			}
			forgotten = append(forgotten, keys[i].id)
		}
		if !step.Make || fresh.id == "" {
			return nil
		}
		if step.Retire >= 0 {
			if err := retire(ctx, tx, tenantID, keys[step.Retire].id, step.RetireAt, step.RemoveAt); err != nil {
				return err
			}
		}
		made = true
		return insert(ctx, tx, tenantID, fresh, sealed, step.New)
	})
	if err != nil {
		return err
	}
	for _, id := range forgotten {
		r.parsed.drop(parsedID{tenantID, id})
		r.log.LogAttrs(ctx, slog.LevelInfo, "signing key removed", slog.String("tenant", tenantID), slog.String("algorithm", algorithm), slog.String("key", id))
	}
	if made {
		r.log.LogAttrs(ctx, slog.LevelInfo, "signing key made", slog.String("tenant", tenantID), slog.String("algorithm", algorithm), slog.String("key", fresh.id))
	}
	return nil
}

// mintSealed makes a key and seals its private half; the clear one is wiped.
func (r *Ring) mintSealed(tenantID, algorithm string) (minted, []byte, error) {
	m, err := mint(algorithm)
	if err != nil {
		return minted{}, nil, err
	}
	sealed, err := r.box.Seal(purpose(tenantID, m.id), m.private)
	clear(m.private)
	m.private = nil
	if err != nil {
		return minted{}, nil, fmt.Errorf("keyring: sealing a key: %w", err)
	}
	return m, sealed, nil
}

// private returns a key's private half, from memory or from the store.
func (r *Ring) private(ctx context.Context, tenantID, id string) (crypto.Signer, error) {
	pid := parsedID{tenantID, id}
	if k, ok := r.parsed.get(pid); ok {
		return k, nil
	}
	sealed, err := sealedPrivate(ctx, r.store.Reader(), tenantID, id)
	if err != nil {
		return nil, err
	}
	der, err := r.box.Open(purpose(tenantID, id), sealed)
	if err != nil {
		return nil, fmt.Errorf("keyring: opening a key (is it the key file that this database was made with?): %w", err)
	}
	defer clear(der)
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("keyring: reading a key: %w", err)
	}
	k, ok := parsed.(crypto.Signer)
	if !ok {
		return nil, errors.New("keyring: a stored key cannot sign")
	}
	r.parsed.put(pid, k)
	return k, nil
}

// purpose binds a sealed key to its tenant and id, so that rows cannot be exchanged.
func purpose(tenantID, id string) string { return "signing-key/" + tenantID + "/" + id }

func timesOf(keys []key) []Times {
	out := make([]Times, len(keys))
	for i, k := range keys {
		out[i] = k.times
	}
	return out
}
