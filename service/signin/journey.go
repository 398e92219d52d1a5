package signin

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// journey is one sign-in in progress.
type journey struct {
	id          string
	browserHash []byte
	appID       string
	appName     string
	returnTo    string
	state       state
	typedName   string
	trace       string    // of its first request; all later ones continue it
	lastCode    wire.Code // what the page says of the step before; 0 nothing
	sessionID   string    // once done
	attempts    int
	settled     time.Time // when the last attempt was settled; zero while it is under way
	created     time.Time
	expires     time.Time
}

func (j journey) position() position {
	return position{state: j.state, attempts: j.attempts, expires: j.expires}
}

// hashOf is how cookies' secrets are stored. They have 256 random bits, so a plain SHA-256 cannot be searched.
func hashOf(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// errMoved says that a row was not as it had been read: another request was faster.
var errMoved = errors.New("signin: another request has changed the journey")

const journeyColumns = `id, browser_hash, app_id, app_name, return_to, state, typed_name, trace, last_code,
	session_id, attempts, settled_at, created_at, expires_at`

func insertJourney(ctx context.Context, tx db.Querier, scope tenant.Scope, j journey) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO journey (tenant_id, `+journeyColumns+`)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)`,
		tenantID, j.id, j.browserHash, j.appID, j.appName, j.returnTo, string(j.state), j.typedName,
		j.trace, int64(j.lastCode), j.sessionID, int64(j.attempts), db.Millis(j.settled),
		db.Millis(j.created), db.Millis(j.expires))
	if err != nil {
		return fmt.Errorf("signin: insert journey: %w", err)
	}
	return nil
}

// findJourney reads a journey of this tenant and this browser. There is one answer to an unknown journey and to another browser's:
// [wire.JourneyUnknown].
func findJourney(ctx context.Context, q db.Querier, scope tenant.Scope, id string, browserHash []byte) (journey, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return journey{}, err
	}
	var j journey
	var st string
	var lastCode, attempts, settled, created, expires int64
	err = q.QueryRowContext(ctx, `SELECT `+journeyColumns+` FROM journey WHERE tenant_id = $1 AND id = $2 AND browser_hash = $3`,
		tenantID, id, browserHash).Scan(&j.id, &j.browserHash, &j.appID, &j.appName, &j.returnTo, &st, &j.typedName,
		&j.trace, &lastCode, &j.sessionID, &attempts, &settled, &created, &expires)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return journey{}, fault.New(wire.JourneyUnknown, "no such journey of this browser")
	case err != nil:
		return journey{}, fmt.Errorf("signin: read journey: %w", err)
	}
	j.state, j.lastCode, j.attempts = state(st), wire.Code(lastCode), int(attempts)
	j.settled, j.created, j.expires = db.Time(settled), db.Time(created), db.Time(expires)
	return j, nil
}

// moveJourney writes what may change of a journey, if its state and its number of attempts are still those of before; else
// errMoved.
func moveJourney(ctx context.Context, tx db.Querier, scope tenant.Scope, before, after journey) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, `UPDATE journey SET state = $1, typed_name = $2, last_code = $3, session_id = $4, attempts = $5,
		settled_at = $6 WHERE tenant_id = $7 AND id = $8 AND state = $9 AND attempts = $10`,
		string(after.state), after.typedName, int64(after.lastCode), after.sessionID, int64(after.attempts), db.Millis(after.settled),
		tenantID, before.id, string(before.state), int64(before.attempts))
	if err != nil {
		return fmt.Errorf("signin: change journey: %w", err)
	}
	switch n, err := res.RowsAffected(); {
	case err != nil:
		return fmt.Errorf("signin: change journey: %w", err)
	case n == 0:
		return errMoved
	}
	return nil
}

// move is moveJourney in a transaction of its own.
func (s *Service) move(ctx context.Context, scope tenant.Scope, before, after journey) error {
	return s.db.Write(ctx, func(tx db.Querier) error { return moveJourney(ctx, tx, scope, before, after) })
}
