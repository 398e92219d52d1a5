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
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

// Enrolment is what an agent that wants to join says of itself.
type Enrolment struct {
	// Name is the wish for a name; empty takes the host's. If it is taken, "-2" and so on is appended.
	Name string
	// Host, OS, Version and Address are for people.
	Host, OS, Version, Address string
	// CSR proves that the agent holds the key for its certificate. Only the key is taken from it.
	CSR *x509.CertificateRequest
	// EnvelopeSuite and EnvelopeKey are the public key that passwords will be sealed to.
	EnvelopeSuite envelope.Suite
	EnvelopeKey   []byte
}

// Enrol lets an agent join with a token's secret. Using the token, making the agent and signing its certificate happen together
// or not at all. Faults: [wire.EnrolRequestInvalid] for a request that is malformed, whatever the token (nothing is used up);
// [wire.EnrolTokenInvalid] for a token that is unknown, used up or expired, without telling which.
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
		tenantID, directoryID, err := useToken(ctx, tx, hash, now)
		if err != nil {
			return err
		}
		// The row was found by a secret that only the tenant's administrator was given: its tenant is proven.
		scope = tenant.ScopeOf(tenantID)
		a = Agent{ID: db.NewID(), DirectoryID: directoryID, Host: clip(e.Host, maxHost), OS: clip(e.OS, maxText), Version: clip(e.Version, maxText),
			State: Active, Key: key, Address: clip(e.Address, maxText), Created: db.Time(db.Millis(now)), Changed: db.Time(db.Millis(now))}
		if a.Name, err = freeName(ctx, tx, tenantID, e); err != nil {
			return err
		}
		if cert, err = s.ca.Issue(scope, a.ID, e.CSR.PublicKey, now); err != nil {
			return err
		}
		a.CertificateSerial, a.CertificateNotAfter = cert.Serial, db.Time(db.Millis(cert.NotAfter))
		return insertAgent(ctx, tx, tenantID, a)
	})
	if err != nil {
		return tenant.Scope{}, Agent{}, ca.Certificate{}, err
	}
	return scope, a, cert, nil
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
		base = cleanName(e.Host)
	}
	if base == "" {
		base = "agent"
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
