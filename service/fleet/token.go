package fleet

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"database/sql"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Token is an enrolment token without its secret.
type Token struct {
	ID          string
	DirectoryID string
	Note        string
	UsesLeft    int
	Expires     time.Time
	Created     time.Time
	// Hosts is the pattern of host names that it may be used by, Networks where from; empty: any.
	Hosts    string
	Networks []string
}

// NewToken asks for a token.
type NewToken struct {
	// DirectoryID is the directory that every agent of this token will serve.
	DirectoryID string
	Note        string
	// Uses is how many agents may join with it; 0 means 1, at most 100.
	Uses int
	// Life is how long it may be used; 0 means a day, at most 90 days.
	Life time.Duration
	// Hosts is a pattern of the host names that may use it, with * and ?; Networks are the addresses and networks it may be used from.
	// Empty means any. The host's name is the agent's own word: it keeps mistakes out, the address keeps strangers out.
	Hosts    string
	Networks []string
	// By is who makes it.
	By Actor
}

// CreateToken makes an enrolment token. The secret is returned once and stored only as a hash. Faults: [wire.NotFound] for a directory
// that is not the tenant's, [wire.BadRequest] for numbers out of range.
func (s *Store) CreateToken(ctx context.Context, scope tenant.Scope, n NewToken, now time.Time) (Token, string, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Token{}, "", err
	}
	if n.Uses == 0 {
		n.Uses = defaultUses
	}
	if n.Life == 0 {
		n.Life = defaultTokenLife
	}
	if n.Uses < 0 || n.Uses > maxUses {
		return Token{}, "", fault.Newf(wire.BadRequest, "a token for %d agents: 1 to %d are allowed", n.Uses, maxUses)
	}
	if n.Life < time.Minute || n.Life > maxTokenLife {
		return Token{}, "", fault.Newf(wire.BadRequest, "a token life of %v: one minute to %v are allowed", n.Life, maxTokenLife)
	}
	where, err := parsePlace(n.Hosts, n.Networks)
	if err != nil {
		return Token{}, "", err
	}
	by, err := n.By.encode()
	if err != nil {
		return Token{}, "", err
	}
	secret, hash := newSecret()
	t := Token{Hosts: where.hosts, Networks: where.texts(), ID: db.NewID(), DirectoryID: n.DirectoryID, Note: clip(n.Note, maxNote), UsesLeft: n.Uses,
		Expires: db.Time(db.Millis(now.Add(n.Life))), Created: db.Time(db.Millis(now))}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		// Tokens that nobody can use any more are swept by whoever makes the next.
		if _, err := tx.ExecContext(ctx, `DELETE FROM enrol_token WHERE tenant_id = $1 AND (expires_at <= $2 OR uses_left <= 0)`, tenantID, db.Millis(now)); err != nil {
			return fmt.Errorf("fleet: sweeping tokens: %w", err)
		}
		var directories, tokens int
		err := tx.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM directory WHERE tenant_id = $1 AND id = $2),
			(SELECT count(*) FROM enrol_token WHERE tenant_id = $1)`, tenantID, n.DirectoryID).Scan(&directories, &tokens)
		if db.NoRow(err) {
			return fault.New(wire.NotFound, "no such directory")
		}
		if err != nil {
			return fmt.Errorf("fleet: making a token: %w", err)
		}
		if directories == 0 {
			return fault.New(wire.NotFound, "no such directory")
		}
		if tokens >= maxTokens {
			return fault.Newf(wire.Conflict, "there are %d enrolment tokens already; remove some", tokens)
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO enrol_token (id, tenant_id, directory_id, secret_hash, note, uses_left, expires_at, created_at,
			host_pattern, networks, made_by) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`, t.ID, tenantID, t.DirectoryID, hash, t.Note, t.UsesLeft,
			db.Millis(t.Expires), db.Millis(now), t.Hosts, strings.Join(t.Networks, " "), by)
		if err != nil {
			return fmt.Errorf("fleet: storing a token: %w", err)
		}
		return s.record(ctx, tx, tenantID, t.made(), now)
	})
	if err != nil {
		return Token{}, "", err
	}
	return t, secret, nil
}

// Tokens returns the tenant's tokens in the order of making. Used-up and expired ones are among them until the next token is made.
func (s *Store) Tokens(ctx context.Context, scope tenant.Scope) ([]Token, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return nil, err
	}
	out, err := db.Collect(ctx, s.db.Reader(), func(row db.Scanner) (t Token, err error) {
		var expires, created int64
		var networks string
		err = row.Scan(&t.ID, &t.DirectoryID, &t.Note, &t.UsesLeft, &expires, &created, &t.Hosts, &networks)
		t.Expires, t.Created, t.Networks = db.Time(expires), db.Time(created), strings.Fields(networks)
		return t, err
	}, `SELECT id, directory_id, note, uses_left, expires_at, created_at, host_pattern, networks FROM enrol_token WHERE tenant_id = $1 ORDER BY id`, tenantID)
	if err != nil {
		return nil, fmt.Errorf("fleet: listing tokens: %w", err)
	}
	return out, nil
}

// RemoveToken makes a token useless at once. Fault [wire.NotFound].
func (s *Store) RemoveToken(ctx context.Context, scope tenant.Scope, id string, now time.Time) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	return s.db.Write(ctx, func(tx db.Querier) error {
		err := affected(tx.ExecContext(ctx, `DELETE FROM enrol_token WHERE tenant_id = $1 AND id = $2`, tenantID, id))
		if fault.Has(err, wire.NotFound) {
			return fault.New(wire.NotFound, "no such enrolment token")
		} else if err != nil {
			return err
		}
		return s.record(ctx, tx, tenantID, tenant.Event{What: "agent-token.remove", Token: id}, now)
	})
}

// useToken takes one use of the token, if it has one, and says whose it is. Unknown, used up and expired look the same.
// Faults of a token at the wrong place: [wire.EnrolHostRefused], [wire.EnrolAddressRefused].
func useToken(ctx context.Context, tx db.Querier, hash []byte, e Enrolment, now time.Time) (tenantID string, t ticket, err error) {
	var hosts, networks, by string
	err = tx.QueryRowContext(ctx, `UPDATE enrol_token SET uses_left = uses_left - 1
		WHERE secret_hash = $1 AND uses_left > 0 AND expires_at > $2 RETURNING tenant_id, directory_id, agent_id,
		host_pattern, networks, made_by`, hash, db.Millis(now)).Scan(&tenantID, &t.directory, &t.agent, &hosts, &networks, &by)
	if errors.Is(err, sql.ErrNoRows) {
		return "", t, fault.New(wire.EnrolTokenInvalid, "")
	}
	if err != nil {
		return "", t, fmt.Errorf("fleet: using a token: %w", err)
	}
	where, err := parsePlace(hosts, strings.Fields(networks))
	if err != nil {
		return "", t, fmt.Errorf("fleet: the place of a token: %w", err)
	}
	if err := where.admits(e.Host, e.Address); err != nil {
		return "", t, err
	}
	if t.by.Actor, err = decodeActor(by); err != nil {
		return "", t, err
	}
	t.token = hash
	return tenantID, t, nil
}

func newSecret() (secret string, hash []byte) {
	raw := make([]byte, secretSize)
	_, _ = rand.Read(raw) // crypto/rand never fails: it ends the program instead
	secret = TokenPrefix + base64.RawURLEncoding.EncodeToString(raw)
	return secret, hashSecret(secret)
}

// hashSecret is how secrets are stored and looked up: equality of hashes, found by an index, tells nothing of the secret.
func hashSecret(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// isSecret tells a secret of ours by its form, before the store is asked.
func isSecret(s string) bool {
	raw, ok := strings.CutPrefix(s, TokenPrefix)
	return ok && len(raw) == base64.RawURLEncoding.EncodedLen(secretSize)
}
