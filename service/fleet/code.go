package fleet

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// A code lets an agent without a token ask an administrator (RFC 8628):
//
//	AskCode ──▶ waiting ──ApproveCode──▶ approved: PollCode gives the certificate
//	               │ └────DenyCode─────▶ denied
//	               └──── its time ─────▶ expired
//
// The agent and its certificate are made when the code is approved, from the keys that the code was asked for with.

// codeState is where a code stands. The values are stored.
type codeState string

const (
	codeWaiting  codeState = "waiting"
	codeApproved codeState = "approved"
	codeDenied   codeState = "denied"
)

// CodeFacts are what an agent says of itself and the service of it, for the administrator who decides.
type CodeFacts struct {
	Name, Host, OS, Version, KeyStore, Instance string
	// Directory is the name of the directory that the agent asks for; may be empty.
	Directory string
	// Address is where the request came from, Network its network.
	Address, Network string
	// Fingerprint is of both keys: [wire.KeysFingerprint].
	Fingerprint string
}

// Code is a registration that waits, or has waited, for an administrator.
type Code struct {
	ID string
	// UserCode is what people type, as [ShowCode] shows it.
	UserCode string
	CodeFacts
	// Waiting is true while it can be decided; Agent is who was let in, "" if nobody was.
	Waiting          bool
	Agent            string
	Created, Expires time.Time
}

// NewCode is the answer to [Store.AskCode].
type NewCode struct {
	// Secret is the agent's; it is told once, and stored as SHA-256.
	Secret   string
	UserCode string
	Expires  time.Time
	Interval time.Duration
}

// AskCode begins a registration without a token. Faults: [wire.EnrolRequestInvalid]; [wire.TooManyRequests] when too many codes of the
// tenant wait already.
func (s *Store) AskCode(ctx context.Context, scope tenant.Scope, e Enrolment, directory string, now time.Time) (NewCode, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return NewCode{}, err
	}
	if _, err := e.check(); err != nil {
		return NewCode{}, err
	}
	facts, err := json.Marshal(CodeFacts{Name: clip(e.Name, maxName), Host: clip(e.Host, maxHost), OS: clip(e.OS, maxText), Version: clip(e.Version, maxText),
		KeyStore: keyStore(e.KeyStore), Instance: e.Instance, Directory: clip(directory, maxText), Address: clip(e.Address, maxText), Network: clip(e.Network, maxText),
		Fingerprint: wire.KeysFingerprint(e.CSR.RawSubjectPublicKeyInfo, int(e.EnvelopeSuite), e.EnvelopeKey)})
	if err != nil {
		return NewCode{}, fmt.Errorf("fleet: a code's facts: %w", err)
	}
	raw := make([]byte, secretSize)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	n := NewCode{Secret: codePrefix + base64.RawURLEncoding.EncodeToString(raw), Expires: db.Time(db.Millis(now.Add(codeLife))), Interval: codeInterval}
	for try := 1; ; try++ {
		n.UserCode = newUserCode()
		err = s.db.Write(ctx, func(tx db.Querier) error {
			if _, err := tx.ExecContext(ctx, `DELETE FROM device_code WHERE tenant_id = $1 AND expires_at <= $2`, tenantID, db.Millis(now.Add(-codeKept))); err != nil {
				return fmt.Errorf("fleet: sweeping codes: %w", err)
			}
			all, theirs, err := waitingCodes(ctx, tx, tenantID, e.Network, now)
			switch {
			case err != nil:
				return err
			case all >= maxCodes:
				return fault.Newf(wire.TooManyRequests, "%d registrations of the tenant wait for an administrator", all)
			case theirs >= maxCodesFrom:
				return fault.Newf(wire.TooManyRequests, "%d registrations from this network wait for an administrator", theirs)
			}
			_, err = tx.ExecContext(ctx, `INSERT INTO device_code (id, tenant_id, secret_hash, user_code, state, facts, csr, envelope_suite, envelope_key,
				agent_id, chain, interval_ms, polled_at, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, '', '', $10, 0, $11, $12)`,
				db.NewID(), tenantID, hashSecret(n.Secret), n.UserCode, string(codeWaiting), string(facts), e.CSR.Raw, int64(e.EnvelopeSuite), e.EnvelopeKey,
				codeInterval.Milliseconds(), db.Millis(now), db.Millis(n.Expires))
			return db.Translate(err)
		})
		if !errors.Is(err, db.ErrConflict) || try == enrolTries {
			break
		}
	}
	if err != nil {
		return NewCode{}, err
	}
	n.UserCode = ShowCode(n.UserCode)
	return n, nil
}

// waitingCodes counts the codes of a tenant that wait, and those of them from one network. They are few: see maxCodes.
func waitingCodes(ctx context.Context, tx db.Querier, tenantID, network string, now time.Time) (all, theirs int, err error) {
	rows, err := tx.QueryContext(ctx, `SELECT facts FROM device_code WHERE tenant_id = $1 AND state = $2 AND expires_at > $3`, tenantID,
		string(codeWaiting), db.Millis(now))
	if err != nil {
		return 0, 0, fmt.Errorf("fleet: counting codes: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		var facts CodeFacts
		if err := rows.Scan(&text); err != nil {
			return 0, 0, fmt.Errorf("fleet: counting codes: %w", err)
		}
		if err := json.Unmarshal([]byte(text), &facts); err != nil {
			return 0, 0, fmt.Errorf("fleet: a code's facts: %w", err)
		}
		all++
		if facts.Network == network {
			theirs++
		}
	}
	return all, theirs, rows.Err()
}

// newUserCode makes a code of codeLetters letters: some 34 bits.
func newUserCode() string {
	b := make([]byte, codeLetters)
	for i := range b {
		n, _ := rand.Int(rand.Reader, big.NewInt(int64(len(codeAlphabet)))) // never fails (crypto/rand)
		b[i] = codeAlphabet[n.Int64()]
	}
	return string(b)
}

// ShowCode groups a code for people: WDJB-MJHT (RFC 8628 §6.1).
func ShowCode(code string) string {
	if len(code) != codeLetters {
		return code
	}
	return code[:codeLetters/2] + "-" + code[codeLetters/2:]
}

// ParseCode reads what somebody typed: case, spaces and hyphens do not matter. false: it cannot be a code.
func ParseCode(typed string) (string, bool) {
	if len(typed) > 4*codeLetters {
		return "", false
	}
	code := strings.ToUpper(strings.NewReplacer("-", "", " ", "").Replace(typed))
	if len(code) != codeLetters || strings.Trim(code, codeAlphabet) != "" {
		return "", false
	}
	return code, true
}

// codeRow is a line of device_code.
type codeRow struct {
	Code
	state    codeState
	csr      []byte
	suite    int64
	key      []byte
	chain    string
	interval time.Duration
	polled   time.Time
}

func oneCode(ctx context.Context, q db.Querier, tenantID, condition string, arg any) (codeRow, error) {
	var c codeRow
	var state, facts string
	var interval, polled, created, expires int64
	err := q.QueryRowContext(ctx, `SELECT id, user_code, state, facts, csr, envelope_suite, envelope_key, agent_id, chain, interval_ms, polled_at, created_at, expires_at
		FROM device_code WHERE tenant_id = $1 AND `+condition, tenantID, arg).Scan(&c.ID, &c.UserCode, &state, &facts, &c.csr, &c.suite, &c.key, &c.Agent,
		&c.chain, &interval, &polled, &created, &expires)
	if db.NoRow(err) {
		return c, fault.New(wire.NotFound, "no such code, or its time is over")
	}
	if err != nil {
		return c, fmt.Errorf("fleet: reading a code: %w", err)
	}
	if err := json.Unmarshal([]byte(facts), &c.CodeFacts); err != nil {
		return c, fmt.Errorf("fleet: a code's facts: %w", err)
	}
	c.state, c.interval, c.polled, c.Created, c.Expires = codeState(state), time.Duration(interval)*time.Millisecond, db.Time(polled), db.Time(created), db.Time(expires)
	return c, nil
}

// CodeByUserCode finds a code that is still in its time by what an administrator typed. Fault [wire.NotFound]: unknown, over, or of another
// tenant.
func (s *Store) CodeByUserCode(ctx context.Context, scope tenant.Scope, typed string, now time.Time) (Code, error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Code{}, err
	}
	userCode, ok := ParseCode(typed)
	if !ok {
		return Code{}, fault.New(wire.NotFound, "that is no code")
	}
	c, err := oneCode(ctx, s.db.Reader(), tenantID, `user_code = $2`, userCode)
	if err != nil {
		return Code{}, err
	}
	if !c.Expires.After(now) {
		return Code{}, fault.New(wire.NotFound, "no such code, or its time is over")
	}
	c.Waiting, c.UserCode = c.state == codeWaiting, ShowCode(c.UserCode)
	return c.Code, nil
}

// ApproveCode lets the agent of a code in, for a directory of the tenant, and returns it: [Pending] if the policy wants a second
// administrator. Faults: [wire.NotFound] for a code or a directory that is not there; [wire.Conflict] for a code that was decided;
// [wire.AgentLimit].
func (s *Store) ApproveCode(ctx context.Context, scope tenant.Scope, id, directoryID string, by Actor, now time.Time) (a Agent, err error) {
	err = s.decideCode(ctx, scope, id, now, func(tx db.Querier, tenantID string, c codeRow) error {
		var directories int
		if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM directory WHERE tenant_id = $1 AND id = $2`, tenantID, directoryID).Scan(&directories); err != nil {
			return fmt.Errorf("fleet: looking for a directory: %w", err)
		}
		if directories == 0 {
			return fault.New(wire.NotFound, "no such directory")
		}
		csr, err := x509.ParseCertificateRequest(c.csr)
		if err != nil {
			return fmt.Errorf("fleet: the certificate request of a code: %w", err)
		}
		e := Enrolment{Name: c.Name, Host: c.Host, OS: c.OS, Version: c.Version, Address: c.Address, CSR: csr, KeyStore: c.KeyStore, Instance: c.Instance,
			EnvelopeSuite: envelope.Suite(c.suite), EnvelopeKey: c.key}
		key, err := e.check()
		if err != nil {
			return err
		}
		joined, cert, err := s.join(ctx, tx, scope, ticket{directory: directoryID, by: voucher{by, true}}, key, e, now)
		if err != nil {
			return err
		}
		a = joined
		// The agent gets some time to fetch what was approved at the last moment.
		_, err = tx.ExecContext(ctx, `UPDATE device_code SET state = $1, agent_id = $2, chain = $3, expires_at = $4 WHERE tenant_id = $5 AND id = $6`,
			string(codeApproved), a.ID, string(cert.PEM()), db.Millis(later(c.Expires, now.Add(codeFetch))), tenantID, id)
		return err
	})
	return a, err
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// DenyCode turns the agent of a code away. Faults as of [Store.ApproveCode].
func (s *Store) DenyCode(ctx context.Context, scope tenant.Scope, id string, now time.Time) error {
	return s.decideCode(ctx, scope, id, now, func(tx db.Querier, tenantID string, _ codeRow) error {
		_, err := tx.ExecContext(ctx, `UPDATE device_code SET state = $1 WHERE tenant_id = $2 AND id = $3`, string(codeDenied), tenantID, id)
		return err
	})
}

// decideCode lets a decision happen to a code that waits.
func (s *Store) decideCode(ctx context.Context, scope tenant.Scope, id string, now time.Time, decide func(tx db.Querier, tenantID string, c codeRow) error) error {
	tenantID, err := scope.ID()
	if err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := s.db.Write(ctx, func(tx db.Querier) error {
			// The update comes first: it makes a second decision wait for the first one, and see it.
			if err := affected(tx.ExecContext(ctx, `UPDATE device_code SET state = state WHERE tenant_id = $1 AND id = $2`, tenantID, id)); err != nil {
				if fault.Has(err, wire.NotFound) {
					return fault.New(wire.NotFound, "no such code, or its time is over")
				}
				return err
			}
			c, err := oneCode(ctx, tx, tenantID, `id = $2`, id)
			if err != nil {
				return err
			}
			switch {
			case !c.Expires.After(now):
				return fault.New(wire.NotFound, "no such code, or its time is over")
			case c.state != codeWaiting:
				return fault.Newf(wire.Conflict, "the code was decided before: it is %s", string(c.state))
			}
			return decide(tx, tenantID, c)
		})
		if errors.Is(err, db.ErrConflict) && try < enrolTries {
			continue // another registration took the agent's name
		}
		return err
	}
}

// Polled is the outcome of a poll. Error is of RFC 8628 §3.5, empty once there is a certificate.
type Polled struct {
	Error    string
	Interval time.Duration
	Scope    tenant.Scope
	Agent    Agent
	// Chain is the certificate with what is above it, in PEM.
	Chain    string
	NotAfter time.Time
}

// judgePoll is the rule of a poll: the error of RFC 8628 §3.5, "" for an approved code, and the interval from now on.
func judgePoll(s codeState, expires, polled time.Time, interval time.Duration, now time.Time) (string, time.Duration) {
	switch {
	case !now.Before(expires):
		return wire.DeviceExpired, interval
	case s == codeDenied:
		return wire.DeviceDenied, interval
	case now.Sub(polled) < interval-pollTolerance:
		return wire.DeviceSlowDown, min(interval+slowDownBy, maxInterval)
	case s == codeApproved:
		return "", interval
	}
	return wire.DevicePending, interval
}

// PollCode tells the agent that holds a code's secret what became of it; as often as it asks, until the code's time is over.
func (s *Store) PollCode(ctx context.Context, secret string, now time.Time) (out Polled, err error) {
	// Anybody may ask. What is no code of ours must not wait in the line of those who write.
	var known string
	if strings.HasPrefix(secret, codePrefix) {
		err = s.db.Reader().QueryRowContext(ctx, `SELECT id FROM device_code WHERE secret_hash = $1`, hashSecret(secret)).Scan(&known)
	}
	if err != nil && !db.NoRow(err) {
		return Polled{}, fmt.Errorf("fleet: reading a code: %w", err)
	}
	if known == "" {
		return Polled{Error: wire.DeviceExpired}, nil
	}
	err = s.db.Write(ctx, func(tx db.Querier) error {
		out = Polled{Error: wire.DeviceExpired}
		hash := hashSecret(secret)
		var tenantID string
		err := tx.QueryRowContext(ctx, `SELECT tenant_id FROM device_code WHERE secret_hash = $1`, hash).Scan(&tenantID)
		if errors.Is(err, sql.ErrNoRows) {
			return nil // swept, or never one
		}
		if err != nil {
			return fmt.Errorf("fleet: reading a code: %w", err)
		}
		// Found by a secret that the service made for this tenant: the tenant is proven.
		out.Scope = tenant.ScopeOf(tenantID)
		c, err := oneCode(ctx, tx, tenantID, `secret_hash = $2`, hash)
		if err != nil {
			return err
		}
		out.Error, out.Interval = judgePoll(c.state, c.Expires, c.polled, c.interval, now)
		if _, err := tx.ExecContext(ctx, `UPDATE device_code SET polled_at = $1, interval_ms = $2 WHERE tenant_id = $3 AND id = $4`, db.Millis(now),
			out.Interval.Milliseconds(), tenantID, c.ID); err != nil {
			return fmt.Errorf("fleet: noting a poll: %w", err)
		}
		if out.Error != "" {
			return nil
		}
		if out.Agent, err = oneAgent(ctx, tx, tenantID, c.Agent); fault.Has(err, wire.NotFound) {
			out.Error = wire.DeviceDenied // removed since
			return nil
		} else if err != nil {
			return err
		}
		block, _ := pem.Decode(bytes.TrimSpace([]byte(c.chain)))
		if block == nil {
			return errors.New("fleet: the chain of a code is no PEM")
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return fmt.Errorf("fleet: the chain of a code: %w", err)
		}
		out.Chain, out.NotAfter = c.chain, cert.NotAfter
		return nil
	})
	return out, err
}
