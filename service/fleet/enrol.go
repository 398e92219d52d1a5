package fleet

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/notify"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Enrolment is what an agent that wants to join says of itself.
type Enrolment struct {
	// Name is the wish for a name; empty takes the host's. If it is taken, "-2" and so on is appended.
	Name string
	// Host, OS, Version and Address are for people.
	Host, OS, Version, Address string
	// Instance tells agents on one host apart; empty for the only one.
	Instance string
	// Network is whom the address stands for, where registrations are limited by it; see web.Network.
	Network string
	// CSR proves that the agent holds the key for its certificate. Only the key is taken from it.
	CSR *x509.CertificateRequest
	// EnvelopeSuite and EnvelopeKey are the public key that passwords will be sealed to.
	EnvelopeSuite envelope.Suite
	EnvelopeKey   []byte
	// KeyStore is where the agent keeps its keys; empty means "file".
	KeyStore string
	// Former is the proof of an agent that it was a member before and wants to be the same again; nil for a new one.
	Former *Former
}

// Former proves who an agent was: its last certificate, with what is above it, and a signature with that certificate's key
// over [wire.AgainProof] of this registration. The certificate's time may be over.
type Former struct {
	Chain     []*x509.Certificate
	Signature []byte
}

// Enrol lets an agent join with a token's secret. Using the token, making the agent and signing its certificate happen together
// or not at all. Faults: [wire.EnrolRequestInvalid] for a request that is malformed, whatever the token (nothing is used up);
// [wire.EnrolTokenInvalid] for a token that is unknown, used up or expired, without telling which; [wire.AgentLimit] for a new agent
// above the tenant's limit, [wire.HostTaken] for a second one of its directory on one host, and [wire.KeyStoreRefused] for keys that are not
// where the tenant demands; [wire.EnrolHostRefused] and
// [wire.EnrolAddressRefused] at a place that the token is not for (nothing is used up).
// Where the tenant's policy wants an approval the agent comes out [Pending].
func (s *Store) Enrol(ctx context.Context, secret string, e Enrolment, now time.Time) (tenant.Scope, Agent, ca.Certificate, error) {
	key, err := e.check()
	if err != nil {
		return tenant.Scope{}, Agent{}, ca.Certificate{}, err
	}
	if !isSecret(secret) {
		return tenant.Scope{}, Agent{}, ca.Certificate{}, fault.New(wire.EnrolTokenInvalid, "it does not have the form of an enrolment token")
	}
	hash := hashSecret(secret)
	for try := 1; ; try++ {
		scope, a, cert, err := s.enrol(ctx, hash, key, e, now)
		// On PostgreSQL another enrolment may take the name between the look and the insertion.
		if errors.Is(err, db.ErrConflict) && try < enrolTries {
			continue
		}
		return scope, a, cert, err
	}
}

func (s *Store) enrol(ctx context.Context, hash []byte, key envelope.PublicKey, e Enrolment, now time.Time) (scope tenant.Scope, a Agent, cert ca.Certificate, err error) {
	err = s.db.Write(ctx, func(tx db.Querier) error {
		tenantID, ticket, err := useToken(ctx, tx, hash, e, now)
		if err != nil {
			return err
		}
		// The row was found by a secret that only the tenant's administrator was given: its tenant is proven.
		scope = tenant.ScopeOf(tenantID)
		a, cert, err = s.join(ctx, tx, scope, ticket, key, e, now)
		return err
	})
	if err != nil {
		return tenant.Scope{}, Agent{}, ca.Certificate{}, err
	}
	return scope, a, cert, nil
}

// ticket is what lets an agent join: a token, or a code that an administrator said yes to.
type ticket struct {
	directory string
	// agent is the one that a token of a release is for, else "".
	agent string
	// token is the hash of the token's secret, nil for a code.
	token []byte
	by    voucher
}

// join makes the agent of an enrolment and signs its certificate.
func (s *Store) join(ctx context.Context, tx db.Querier, scope tenant.Scope, t ticket, key envelope.PublicKey, e Enrolment, now time.Time) (a Agent, cert ca.Certificate, err error) {
	tenantID, err := scope.ID()
	if err != nil {
		return Agent{}, ca.Certificate{}, err
	}
	policy, err := tenant.ApprovalIn(ctx, tx, scope)
	if err != nil {
		return Agent{}, ca.Certificate{}, err
	}
	err = func() error {
		if err := demandKeys(ctx, tx, scope, e.KeyStore); err != nil {
			return err
		}
		a = Agent{ID: db.NewID(), DirectoryID: t.directory, Host: clip(e.Host, maxHost), OS: clip(e.OS, maxText), Version: clip(e.Version, maxText),
			State: Active, Key: key, KeyStore: keyStore(e.KeyStore), Instance: e.Instance, Address: clip(e.Address, maxText), Created: db.Time(db.Millis(now)), Changed: db.Time(db.Millis(now))}
		event, known := "register", false
		if t.agent != "" || e.Former != nil {
			event = "reregister"
			if known, err = s.again(ctx, tx, &a, tenantID, t.agent, t.token, e, now); err != nil {
				return err
			}
		}
		if !known {
			if err := s.room(ctx, tx, tenantID); err != nil {
				return err
			}
			if err := alone(ctx, tx, tenantID, a); err != nil {
				return err
			}
			if a.Name, err = freeName(ctx, tx, tenantID, e); err != nil {
				return err
			}
		}
		if a.State == Drained && entry(Drained, policy, t.by.byCode) == Pending {
			a.StateReason = wasDrained
		}
		a.State = entry(a.State, policy, t.by.byCode)
		if cert, err = s.ca.Issue(ctx, tx, scope, a.ID, e.CSR.PublicKey, now); err != nil {
			return err
		}
		a.CertificateSerial, a.CertificateNotAfter = cert.Serial, db.Time(db.Millis(cert.NotAfter))
		if known {
			err = replaceAgent(ctx, tx, tenantID, a)
		} else {
			err = insertAgent(ctx, tx, tenantID, a)
		}
		if err != nil {
			return err
		}
		if err := endCertificates(ctx, tx, tenantID, a.ID, cert.Serial, superseded, now); err != nil {
			return err
		}
		if err := insertCertificate(ctx, tx, tenantID, a.ID, cert, now); err != nil {
			return err
		}
		if err := s.recordEnrolment(ctx, tx, tenantID, t.token, issued(agentEvent(event, a, a.Host), cert, key), now); err != nil {
			return err
		}
		fingerprint := wire.KeysFingerprint(e.CSR.RawSubjectPublicKeyInfo, int(e.EnvelopeSuite), e.EnvelopeKey)
		if err := vouch(ctx, tx, tenantID, a.ID, t.by.Actor, policy, fingerprint); err != nil {
			return err
		}
		news := a.event(notify.AgentRegistered, t.by.Actor, event)
		news.Fingerprint = fingerprint
		if err := notify.Put(ctx, tx, scope, news, now); err != nil {
			return err
		}
		return insertHistory(ctx, tx, tenantID, a.ID, event, a.Host, now)
	}()
	return a, cert, err
}

// demandKeys says whether agents of a tenant may keep their keys so.
func demandKeys(ctx context.Context, tx db.Querier, scope tenant.Scope, kind string) error {
	demand, err := tenant.AgentKeysIn(ctx, tx, scope)
	if err != nil {
		return err
	}
	if kind = keyStore(kind); !demand.Allows(kind) {
		return fault.Newf(wire.KeyStoreRefused, "keys in %s, and %s is demanded", kind, demand)
	}
	return nil
}

// room says whether the tenant may have another agent.
func (s *Store) room(ctx context.Context, tx db.Querier, tenantID string) error {
	limit := s.Limit
	if limit == 0 {
		limit = DefaultLimit
	}
	var n int
	if err := tx.QueryRowContext(ctx, `SELECT count(*) FROM agent WHERE tenant_id = $1 AND state <> $2`, tenantID, string(Revoked)).Scan(&n); err != nil {
		return fmt.Errorf("fleet: counting agents: %w", err)
	}
	if n >= limit {
		return fault.Newf(wire.AgentLimit, "%d agents of at most %d", n, limit)
	}
	return nil
}

// alone refuses a second agent of one directory on one host: they would fall together, and a second opinion from there is none. Names of
// hosts are the agents' own word, so this keeps an administrator from a mistake, not an agent from a lie.
func alone(ctx context.Context, tx db.Querier, tenantID string, a Agent) error {
	if a.Host == "" {
		return nil
	}
	var other string
	err := tx.QueryRowContext(ctx, `SELECT name FROM agent WHERE tenant_id = $1 AND directory_id = $2 AND lower(host) = lower($3) AND instance = $4 AND state <> $5
		ORDER BY id LIMIT 1`, tenantID, a.DirectoryID, a.Host, a.Instance, string(Revoked)).Scan(&other)
	switch {
	case db.NoRow(err):
		return nil
	case err != nil:
		return fmt.Errorf("fleet: looking for another agent on the host: %w", err)
	case a.Instance != "":
		return fault.Newf(wire.HostTaken, "agent %s is the instance %q on %s", other, a.Instance, a.Host)
	}
	return fault.Newf(wire.HostTaken, "agent %s is on %s", other, a.Host)
}

// again makes a the agent that it was: the one that the token was made for, else the one whose key proves it. known says that it is
// still a member.
//
// A token for one agent is an administrator's word that whoever holds it is that agent; it is the only way back for one whose keys are
// not believed any more (revoked, quarantined). With any other token, the former key decides which agent comes back, and never
// into another directory than it served.
func (s *Store) again(ctx context.Context, tx db.Querier, a *Agent, tenantID, agentID string, token []byte, e Enrolment, now time.Time) (known bool, err error) {
	var serial string
	released := agentID != ""
	if !released {
		if agentID, serial, err = s.former(tenantID, token, e, now); err != nil {
			return false, err
		}
	}
	was, err := oneAgent(ctx, tx, tenantID, agentID)
	if fault.Has(err, wire.NotFound) && !released {
		// Removed. Whoever was shut out before is not let in by being forgotten.
		c, err := oneCertificate(ctx, tx, tenantID, agentID, serial)
		if err != nil && !db.NoRow(err) {
			return false, err
		}
		if err != nil || c.reason == keyCompromise || c.reason == privilegeWithdrawn {
			return false, fault.Newf(wire.FormerUnproven, "agent %s was shut out before it was removed, or is forgotten: register as a new agent", agentID)
		}
		a.ID = agentID
		return false, nil
	}
	if err != nil {
		return false, err
	}
	switch {
	case was.DirectoryID != a.DirectoryID:
		return false, fault.New(wire.FormerUnproven, "the token is for another directory than the agent's")
	case !released && was.State == Quarantined:
		return false, fault.Newf(wire.AgentQuarantined, "agent %s: a token of its release is needed", was.Name)
	case !released && was.State == Revoked:
		return false, fault.Newf(wire.AgentRevoked, "agent %s: a token of its release is needed", was.Name)
	}
	state, err := Next(was.State, Reregister)
	if err != nil {
		return false, err
	}
	a.ID, a.Name, a.State, a.Created = was.ID, was.Name, state, was.Created
	if was.State == Pending {
		a.StateReason = was.StateReason
	}
	return true, nil
}

// former says which agent of the tenant a proof is of.
func (s *Store) former(tenantID string, token []byte, e Enrolment, now time.Time) (agentID, serial string, err error) {
	id, err := s.ca.Recognise(e.Former.Chain, now)
	if err != nil {
		return "", "", fault.Wrap(wire.FormerUnproven, "the former certificate is not of this service", err)
	}
	if id.Tenant != tenantID {
		return "", "", fault.New(wire.FormerUnproven, "the token is not of the former agent's tenant")
	}
	if err := ca.CheckSignature(e.Former.Chain[0], wire.AgainProof(token, e.CSR.Raw, e.EnvelopeKey), e.Former.Signature); err != nil {
		return "", "", fault.Wrap(wire.FormerUnproven, "the former key has not signed this registration", err)
	}
	return id.Agent, ca.SerialOf(e.Former.Chain[0]), nil
}

// check refuses what is malformed before a token is used up for it.
func (e Enrolment) check() (envelope.PublicKey, error) {
	if e.CSR == nil || len(e.CSR.Raw) > maxCSRSize {
		return envelope.PublicKey{}, fault.New(wire.EnrolRequestInvalid, "no certificate request, or too long a one")
	}
	if err := e.CSR.CheckSignature(); err != nil {
		return envelope.PublicKey{}, fault.Wrap(wire.EnrolRequestInvalid, "the certificate request is not signed by its own key", err)
	}
	if err := ca.CheckKey(e.CSR.PublicKey); err != nil {
		return envelope.PublicKey{}, fault.Wrap(wire.EnrolRequestInvalid, "the certificate request's key", err)
	}
	if len(e.EnvelopeKey) > maxEnvelopeKey {
		return envelope.PublicKey{}, fault.New(wire.EnrolRequestInvalid, "the envelope key is too long")
	}
	key, err := envelope.ParsePublicKey(e.EnvelopeSuite, e.EnvelopeKey)
	if err != nil {
		return envelope.PublicKey{}, fault.Wrap(wire.EnrolRequestInvalid, "the envelope key", err)
	}
	return key, nil
}

// freeName finds a name that no agent of the tenant has.
func freeName(ctx context.Context, tx db.Querier, tenantID string, e Enrolment) (string, error) {
	base := cleanName(e.Name)
	if base == "" {
		if base = cleanName(e.Host); base == "" {
			base = "agent"
		}
		if e.Instance != "" {
			base = base[:min(len(base), maxName-len(e.Instance)-1)] + "-" + e.Instance
		}
	}
	name := base
	for n := 2; ; n++ {
		taken, err := nameTaken(ctx, tx, tenantID, name)
		if err != nil || !taken {
			return name, err
		}
		if n > nameTries {
			return "", fault.Newf(wire.Conflict, "no free name like %q", base)
		}
		suffix := fmt.Sprintf("-%d", n)
		name = base[:min(len(base), maxName-len(suffix))] + suffix
	}
}

// cleanName makes a name of what a host calls itself: lower case, letters, digits, dots, hyphens and underscores, at most
// maxName bytes. What is a name already comes back unchanged; "" if nothing is left.
func cleanName(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		if (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (b.Len() > 0 && (c == '-' || c == '.' || c == '_')) {
			b.WriteRune(c)
		}
		if b.Len() == maxName {
			break
		}
	}
	return b.String()
}

// clip makes a line for people of what somebody sent: valid UTF-8, printable, at most limit bytes.
func clip(s string, limit int) string {
	var b strings.Builder
	for _, c := range s {
		if c == utf8.RuneError || !unicode.IsPrint(c) {
			continue
		}
		if b.Len()+utf8.RuneLen(c) > limit {
			break
		}
		b.WriteRune(c)
	}
	return strings.TrimSpace(b.String())
}
