package admin

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/wire"
)

// Idempotency keys (draft-ietf-httpapi-idempotency-key-header): a caller who did not hear the answer of a POST asks again with
// the same key and hears it, instead of making a second thing.
//
//	absent ──reserve──▶ taken ──handler answers──▶ kept ──a day──▶ absent
//	                      └──handler fails, or a minute without an answer──▶ absent
//
// Answers that tell a secret once are kept, too, since a secret whose answer was lost is what asking again is for. So all answers are
// sealed under the key at rest; they open for the same token, key and request alone, and the token has to be good still.

const (
	keyHeader      = "Idempotency-Key"
	replayedHeader = "Idempotency-Replayed"
)

// replay is the body of an answer that was given before; empty for one without a body.
type replay struct{ body json.RawMessage }

// taking is one request's hold of a key.
type taking struct {
	token, key string
	request    [sha256.Size]byte
	at         int64
}

// purpose binds a kept answer to what it answers.
func (k taking) purpose() string {
	return fmt.Sprintf("admin-answer %s %x %s", k.token, k.request, k.key)
}

// once makes a handler answer a repeated request as the first time. Requests without a key pass.
func (a *API) once(h handler) handler {
	return func(ctx context.Context, r *request) (int, any, error) {
		keys := r.Header.Values(keyHeader)
		if len(keys) == 0 {
			return h(ctx, r)
		}
		if len(keys) > 1 || !usableKey(keys[0]) {
			return 0, nil, fault.Newf(wire.BadRequest, "%s must be one text of 1 to %d printable ASCII characters", keyHeader, maxKey)
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		k := taking{token: r.caller.token, key: keys[0], at: db.Millis(r.now),
			request: sha256.Sum256(append([]byte(r.Method+" "+r.URL.RequestURI()+"\n"), raw...))}
		if status, again, err := a.reserve(ctx, k); err != nil || status != 0 {
			return status, again, err
		}
		answered := false
		defer func() {
			if !answered { // also after a panic
				a.settleKey(ctx, k, `DELETE FROM idempotency WHERE token_id = $1 AND key = $2 AND taken_at = $3 AND status = 0`)
			}
		}()
		status, body, err := h(ctx, r)
		if err != nil {
			return 0, nil, err
		}
		answered = true
		a.keep(ctx, k, status, body)
		return status, body, nil
	}
}

// usableKey reports whether a key has the form that we take.
func usableKey(key string) bool {
	for i := range len(key) {
		if key[i] < ' ' || key[i] > '~' {
			return false
		}
	}
	return 0 < len(key) && len(key) <= maxKey
}

// reserve takes a key. A status says that it was taken before, and what was answered then.
func (a *API) reserve(ctx context.Context, k taking) (status int, again any, err error) {
	var request, sealed []byte
	err = a.cfg.DB.Write(ctx, func(tx db.Querier) error {
		status, request, sealed = 0, nil, nil
		if _, err := tx.ExecContext(ctx, `DELETE FROM idempotency WHERE token_id = $1 AND key = $2 AND (taken_at <= $3 OR (status = 0 AND taken_at <= $4))`,
			k.token, k.key, k.at-keyLife.Milliseconds(), k.at-keyLease.Milliseconds()); err != nil {
			return err
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO idempotency (token_id, key, request, status, taken_at) VALUES ($1, $2, $3, 0, $4)
			ON CONFLICT (token_id, key) DO NOTHING`, k.token, k.key, k.request[:], k.at)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil || n == 1 {
			return err
		}
		return tx.QueryRowContext(ctx, `SELECT request, status, answer FROM idempotency WHERE token_id = $1 AND key = $2`, k.token, k.key).
			Scan(&request, &status, &sealed)
	})
	switch {
	case errors.Is(db.Translate(err), db.ErrReference):
		return 0, nil, fault.Wrap(wire.Unauthenticated, "the token has ended meanwhile", err)
	case err != nil:
		return 0, nil, fmt.Errorf("admin: taking an idempotency key: %w", err)
	case request == nil:
		return 0, nil, nil
	case !bytes.Equal(request, k.request[:]):
		return 0, nil, fault.Newf(wire.Conflict, "the %s was used for another request: take a new one for each thing", keyHeader)
	case status == 0:
		return 0, nil, fault.Newf(wire.Conflict, "the first request with this %s has not been answered yet: ask again in a minute", keyHeader)
	case sealed == nil:
		return 0, nil, fault.Newf(wire.Conflict, "the first request with this %s was carried out, but its answer was too large to be kept: look at the list", keyHeader)
	}
	body, err := a.cfg.Box.Open(k.purpose(), sealed)
	if err != nil {
		return 0, nil, fmt.Errorf("admin: the kept answer: %w", err)
	}
	return status, replay{body}, nil
}

// keep stores an answer. That it cannot is no reason to withhold it: the thing is made.
func (a *API) keep(ctx context.Context, k taking, status int, body any) {
	var raw []byte
	if body != nil {
		var err error
		if raw, err = json.Marshal(body); err != nil {
			a.cfg.Logger.ErrorContext(ctx, "an answer was not kept for its idempotency key", "token", k.token, "error", err)
			return
		}
	}
	var answer any // NULL when it is too large
	if len(raw) <= atrest.MaxSecret {
		sealed, err := a.cfg.Box.Seal(k.purpose(), raw)
		if err != nil {
			a.cfg.Logger.ErrorContext(ctx, "an answer was not kept for its idempotency key", "token", k.token, "error", err)
			return
		}
		answer = sealed
	}
	a.settleKey(ctx, k, `UPDATE idempotency SET status = $4, answer = $5 WHERE token_id = $1 AND key = $2 AND taken_at = $3`, status, answer)
}

// settleKey changes the row of a key that is held, whether or not the caller still waits.
func (a *API) settleKey(ctx context.Context, k taking, statement string, more ...any) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyWrite)
	defer cancel()
	err := a.cfg.DB.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, statement, append([]any{k.token, k.key, k.at}, more...)...)
		return err
	})
	if err != nil {
		a.cfg.Logger.WarnContext(ctx, "an idempotency key stays taken for a while", "token", k.token, "error", err)
	}
}

// Run removes kept answers that are older than a day, until ctx ends, whose error it returns.
func (a *API) Run(ctx context.Context) error {
	tick := time.NewTicker(keySweep)
	defer tick.Stop()
	for {
		if err := a.sweep(ctx, time.Now()); err != nil && ctx.Err() == nil {
			a.cfg.Logger.WarnContext(ctx, "old answers stay for now", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

func (a *API) sweep(ctx context.Context, now time.Time) error {
	return a.cfg.DB.Write(ctx, func(tx db.Querier) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM idempotency WHERE taken_at <= $1`, db.Millis(now.Add(-keyLife)))
		return err
	})
}

// sendReplay writes an answer that was given before.
func sendReplay(w http.ResponseWriter, status int, again replay) {
	w.Header().Set(replayedHeader, "true")
	w.Header().Set("Cache-Control", "no-store")
	if len(again.body) == 0 {
		w.WriteHeader(status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(again.body, '\n')) // the caller has gone: nothing to tell
}
