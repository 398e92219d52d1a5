package fleet

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

type fixture struct {
	*Store
	ca   *ca.Authority
	a, b tenant.Scope
	dirA string // directory of a
	dirB string // directory of b
	now  time.Time
}

func setUp(t *testing.T) fixture {
	t.Helper()
	store := dbtest.New(t)
	box, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.Open(t.Context(), store, box, ca.Config{TrustDomain: "corp.example"})
	if err != nil {
		t.Fatal(err)
	}
	f := fixture{Store: NewStore(store, authority), ca: authority, now: time.Now()}
	tenants := tenant.NewStore(store)
	make := func(name string) (tenant.Scope, string) {
		made, err := tenants.CreateTenant(t.Context(), tenant.NewTenant{Name: name, DisplayName: name, Color: "#204060"}, f.now)
		if err != nil {
			t.Fatal(err)
		}
		d, err := tenants.CreateDirectory(t.Context(), made.Scope(), "corp", false, f.now)
		if err != nil {
			t.Fatal(err)
		}
		return made.Scope(), d.ID
	}
	f.a, f.dirA = make("tenant-a")
	f.b, f.dirB = make("tenant-b")
	return f
}

func (f fixture) token(t *testing.T, scope tenant.Scope, directory string, uses int, life time.Duration) (Token, string) {
	t.Helper()
	tok, secret, err := f.CreateToken(t.Context(), scope, NewToken{DirectoryID: directory, Note: "for the lab", Uses: uses, Life: life}, f.now)
	if err != nil {
		t.Fatal(err)
	}
	return tok, secret
}

// chainOf is what an agent presents.
func chainOf(t testing.TB, c ca.Certificate) (chain []*x509.Certificate) {
	t.Helper()
	for _, der := range c.Chain {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		chain = append(chain, cert)
	}
	return chain
}

func newCSR(t testing.TB) *x509.CertificateRequest {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// What an agent might try to have signed: none of it may come back.
	evil := wire.AgentIdentity{TrustDomain: "corp.example", Tenant: "other", Agent: "other"}.URI()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject: pkix.Name{CommonName: "admin"}, DNSNames: []string{"sso.corp.example"}, URIs: []*url.URL{evil}}, key)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	return csr
}

func enrolment(t testing.TB, host string) Enrolment {
	t.Helper()
	key, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	// Of an instance of its own: most tests are about something else than agents that share a host.
	return Enrolment{Name: host, Host: host, Instance: strings.ToLower(rand.Text()), OS: "Debian 12", Version: "1.0.0", Address: "192.0.2.7", CSR: newCSR(t),
		EnvelopeSuite: key.Public().Suite(), EnvelopeKey: key.Public().Bytes()}
}

func (f fixture) enrol(t *testing.T, scope tenant.Scope, directory, host string) (Agent, ca.Certificate) {
	t.Helper()
	_, secret := f.token(t, scope, directory, 1, 0)
	got, a, cert, err := f.Enrol(t.Context(), secret, enrolment(t, host), f.now)
	if err != nil {
		t.Fatal(err)
	}
	if got != scope {
		t.Fatalf("enrolled in %v, want %v", got, scope)
	}
	return a, cert
}

func want(t *testing.T, what string, err error, code wire.Code) {
	t.Helper()
	if got := fault.CodeOf(err); got != code {
		t.Errorf("%s: %v (%v), want %v", what, got, err, code)
	}
}

func TestEnrol(t *testing.T) {
	f := setUp(t)
	tok, secret := f.token(t, f.a, f.dirA, 0, 0)
	if !strings.HasPrefix(secret, TokenPrefix) || len(secret) != len(TokenPrefix)+43 {
		t.Errorf("secret %q", secret)
	}
	if tok.UsesLeft != 1 || !tok.Expires.Equal(db.Time(db.Millis(f.now.Add(defaultTokenLife)))) {
		t.Errorf("token %+v", tok)
	}
	e := enrolment(t, "DC1.corp.example")
	scope, a, cert, err := f.Enrol(t.Context(), secret, e, f.now)
	if err != nil {
		t.Fatal(err)
	}
	if scope != f.a || a.DirectoryID != f.dirA || a.State != Active || a.Name != "dc1.corp.example" || a.Host != "DC1.corp.example" {
		t.Errorf("agent %+v in %v", a, scope)
	}
	leaf, err := x509.ParseCertificate(cert.DER)
	if err != nil {
		t.Fatal(err)
	}
	id, err := f.ca.Verify(chainOf(t, cert), f.now)
	if err != nil {
		t.Fatal(err)
	}
	if id.Tenant != f.a.String() || id.Agent != a.ID || len(leaf.DNSNames) != 0 || leaf.Subject.CommonName == "admin" {
		t.Errorf("identity %v, names %v, subject %v", id, leaf.DNSNames, leaf.Subject)
	}
	stored, err := f.ByID(t.Context(), f.a, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if stored.Key.ID() != a.Key.ID() || string(stored.Key.Bytes()) != string(e.EnvelopeKey) {
		t.Error("another envelope key was stored")
	}
	stored.Key, a.Key = envelope.PublicKey{}, envelope.PublicKey{}
	if stored != a {
		t.Errorf("stored %+v\nreturned %+v", stored, a)
	}
	_, _, _, err = f.Enrol(t.Context(), secret, enrolment(t, "dc2"), f.now)
	want(t, "the second use", err, wire.EnrolTokenInvalid)
}

func TestTokensThatDoNotWork(t *testing.T) {
	f := setUp(t)
	_, short := f.token(t, f.a, f.dirA, 1, time.Minute)
	removed, secret := f.token(t, f.a, f.dirA, 1, 0)
	want(t, "removing it from another tenant", f.RemoveToken(t.Context(), f.b, removed.ID, f.now), wire.NotFound)
	if err := f.RemoveToken(t.Context(), f.a, removed.ID, f.now); err != nil {
		t.Fatal(err)
	}
	want(t, "removing it twice", f.RemoveToken(t.Context(), f.a, removed.ID, f.now), wire.NotFound)
	want(t, "removing nonsense", f.RemoveToken(t.Context(), f.a, "a\x00b", f.now), wire.NotFound)
	other := byte('x')
	if short[len(short)-2] == other {
		other = 'y'
	}
	for _, test := range []struct {
		name, secret string
		at           time.Time
	}{
		{"empty", "", f.now},
		{"without the prefix", strings.TrimPrefix(short, TokenPrefix), f.now},
		{"unknown", TokenPrefix + strings.Repeat("A", 43), f.now},
		{"far too long", TokenPrefix + strings.Repeat("A", 1<<20), f.now},
		{"removed", secret, f.now},
		{"expired to the millisecond", short, f.now.Add(time.Minute)},
		{"one letter changed", short[:len(short)-2] + string(other) + short[len(short)-1:], f.now},
	} {
		_, _, _, err := f.Enrol(t.Context(), test.secret, enrolment(t, "h"), test.at)
		want(t, test.name, err, wire.EnrolTokenInvalid)
	}
	if _, _, _, err := f.Enrol(t.Context(), short, enrolment(t, "h"), f.now.Add(time.Minute-time.Millisecond)); err != nil {
		t.Errorf("the last millisecond: %v", err)
	}
}

func TestTokenSecretIsNotStored(t *testing.T) {
	f := setUp(t)
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	var hash []byte
	if err := f.db.Reader().QueryRowContext(t.Context(), `SELECT secret_hash FROM enrol_token`).Scan(&hash); err != nil {
		t.Fatal(err)
	}
	if len(hash) != 32 || strings.Contains(string(hash), secret[len(TokenPrefix):][:8]) {
		t.Errorf("stored %d bytes", len(hash))
	}
}

func TestRacingUses(t *testing.T) {
	f := setUp(t)
	for _, uses := range []int{1, 3} {
		t.Run(fmt.Sprint(uses), func(t *testing.T) {
			_, secret := f.token(t, f.a, f.dirA, uses, 0)
			var won, lost atomic.Int64
			var names sync.Map
			var wg sync.WaitGroup
			e := enrolment(t, "same-host")
			for range 8 {
				e := e
				e.Instance = strings.ToLower(rand.Text())
				wg.Go(func() {
					_, a, _, err := f.Enrol(t.Context(), secret, e, f.now)
					switch {
					case err == nil:
						won.Add(1)
						if _, twice := names.LoadOrStore(a.Name, true); twice {
							t.Errorf("two agents are called %q", a.Name)
						}
					case fault.Has(err, wire.EnrolTokenInvalid):
						lost.Add(1)
					default:
						t.Error(err)
					}
				})
			}
			wg.Wait()
			if won.Load() != int64(uses) || won.Load()+lost.Load() != 8 {
				t.Errorf("%d won, %d lost", won.Load(), lost.Load())
			}
		})
	}
}

func TestMalformedEnrolmentUsesNothingUp(t *testing.T) {
	f := setUp(t)
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	change := func(change func(*Enrolment)) Enrolment {
		e := enrolment(t, "h")
		change(&e)
		return e
	}
	weak, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, weak)
	if err != nil {
		t.Fatal(err)
	}
	weakCSR, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	for name, e := range map[string]Enrolment{
		"no request":            change(func(e *Enrolment) { e.CSR = nil }),
		"stolen key":            change(func(e *Enrolment) { c := *e.CSR; c.PublicKey = newCSR(t).PublicKey; e.CSR = &c }),
		"weak key":              change(func(e *Enrolment) { e.CSR = weakCSR }),
		"huge request":          change(func(e *Enrolment) { c := *e.CSR; c.Raw = make([]byte, maxCSRSize+1); e.CSR = &c }),
		"unknown suite":         change(func(e *Enrolment) { e.EnvelopeSuite = 99 }),
		"no envelope key":       change(func(e *Enrolment) { e.EnvelopeKey = nil }),
		"cut envelope key":      change(func(e *Enrolment) { e.EnvelopeKey = e.EnvelopeKey[1:] }),
		"enormous envelope key": change(func(e *Enrolment) { e.EnvelopeKey = make([]byte, maxEnvelopeKey+1) }),
	} {
		_, _, _, err := f.Enrol(t.Context(), secret, e, f.now)
		want(t, name, err, wire.EnrolRequestInvalid)
	}
	if _, _, _, err := f.Enrol(t.Context(), secret, enrolment(t, "h"), f.now); err != nil {
		t.Errorf("the token was used up: %v", err)
	}
}

func TestNames(t *testing.T) {
	f := setUp(t)
	first, _ := f.enrol(t, f.a, f.dirA, "DC1")
	second, _ := f.enrol(t, f.a, f.dirA, "dc1")
	third, _ := f.enrol(t, f.a, f.dirA, "dc1")
	other, _ := f.enrol(t, f.b, f.dirB, "dc1")
	nameless, _ := f.enrol(t, f.a, f.dirA, "…")
	long, _ := f.enrol(t, f.a, f.dirA, strings.Repeat("a", 200))
	longer, _ := f.enrol(t, f.a, f.dirA, strings.Repeat("a", 200))
	for _, test := range []struct{ got, want string }{
		{first.Name, "dc1"}, {second.Name, "dc1-2"}, {third.Name, "dc1-3"}, {other.Name, "dc1"}, {nameless.Name, "agent-" + nameless.Instance},
		{long.Name, strings.Repeat("a", maxName)}, {longer.Name, strings.Repeat("a", maxName-2) + "-2"},
	} {
		if test.got != test.want {
			t.Errorf("%q, want %q", test.got, test.want)
		}
	}
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	e := enrolment(t, "host")
	e.Name = "Berlin 1"
	_, wished, _, err := f.Enrol(t.Context(), secret, e, f.now)
	if err != nil || wished.Name != "berlin1" {
		t.Errorf("%q, %v", wished.Name, err)
	}

	_, err = f.Rename(t.Context(), f.a, first.ID, "dc1-2", f.now)
	want(t, "a taken name", err, wire.Conflict)
	for _, bad := range []string{"", "-a", "A", "a b", "a\x00", strings.Repeat("a", maxName+1)} {
		_, err = f.Rename(t.Context(), f.a, first.ID, bad, f.now)
		want(t, bad, err, wire.BadRequest)
	}
	_, err = f.Rename(t.Context(), f.b, first.ID, "mine", f.now)
	want(t, "from another tenant", err, wire.NotFound)
	renamed, err := f.Rename(t.Context(), f.a, first.ID, "berlin", f.now)
	if err != nil || renamed.Name != "berlin" {
		t.Errorf("%+v, %v", renamed, err)
	}
	if got, err := f.ByName(t.Context(), f.a, "berlin"); err != nil || got.ID != first.ID {
		t.Errorf("%v, %v", got.ID, err)
	}
	_, err = f.ByName(t.Context(), f.b, "berlin")
	want(t, "by name from another tenant", err, wire.NotFound)
	_, err = f.ByName(t.Context(), f.a, "a\x00b")
	want(t, "by a name that none can have", err, wire.NotFound)
}

func TestAdmitAndStandingAgree(t *testing.T) {
	f := setUp(t)
	a, cert := f.enrol(t, f.a, f.dirA, "a")
	revoked, revokedCert := f.enrol(t, f.a, f.dirA, "revoked")
	removed, removedCert := f.enrol(t, f.a, f.dirA, "removed")
	if err := f.Revoke(t.Context(), f.a, revoked.ID, "the server was stolen", f.now); err != nil {
		t.Fatal(err)
	}
	if err := f.Revoke(t.Context(), f.a, revoked.ID, "again", f.now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := f.Remove(t.Context(), f.a, removed.ID, f.now); err != nil {
		t.Fatal(err)
	}
	want(t, "removing twice", f.Remove(t.Context(), f.a, removed.ID, f.now), wire.NotFound)
	if got, err := f.ByID(t.Context(), f.a, revoked.ID); err != nil || got.RevokedReason != "the server was stolen" || !got.RevokedAt.Equal(db.Time(db.Millis(f.now))) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, test := range []struct {
		name   string
		scope  tenant.Scope
		agent  string
		serial string
		at     time.Time
		want   wire.Code
	}{
		{"current", f.a, a.ID, cert.Serial, f.now, 0},
		{"another tenant's", f.b, a.ID, cert.Serial, f.now, wire.AgentUnknown},
		{"superseded certificate", f.a, a.ID, "1234", f.now, wire.CertificateForeign},
		{"no certificate", f.a, a.ID, "", f.now, wire.CertificateForeign},
		{"expired", f.a, a.ID, cert.Serial, cert.NotAfter.Add(time.Second), wire.CertificateExpired},
		{"revoked", f.a, revoked.ID, revokedCert.Serial, f.now, wire.AgentRevoked},
		{"revoked, with a wrong certificate", f.a, revoked.ID, "1", f.now, wire.AgentRevoked},
		{"removed", f.a, removed.ID, removedCert.Serial, f.now, wire.AgentUnknown},
		{"never there", f.a, "nobody", "1", f.now, wire.AgentUnknown},
	} {
		id := wire.AgentIdentity{TrustDomain: "corp.example", Tenant: test.scope.String(), Agent: test.agent}
		scope, got, err := f.Admit(t.Context(), id, test.serial, test.at)
		want(t, test.name, err, test.want)
		if err == nil && (scope != test.scope || got.ID != test.agent) {
			t.Errorf("%s: %v, %v", test.name, scope, got.ID)
		}
		if err != nil && (!scope.Zero() || got.ID != "") {
			t.Errorf("%s: a scope or an agent came with the refusal", test.name)
		}
		ref := AgentRef{test.scope, test.agent, test.serial}
		all, err := f.Standing(t.Context(), []AgentRef{ref}, test.at)
		if err != nil || len(all) != 1 || all[ref].Code != test.want {
			t.Errorf("%s: standing %v, %v", test.name, all, err)
		}
	}
	_, _, err := f.Admit(t.Context(), wire.AgentIdentity{TrustDomain: "other", Tenant: f.a.String(), Agent: a.ID}, cert.Serial, f.now)
	want(t, "another trust domain", err, wire.CertificateForeign)
	if _, _, err := f.Admit(t.Context(), wire.AgentIdentity{TrustDomain: "corp.example", Agent: a.ID}, cert.Serial, f.now); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("no tenant: %v", err)
	}
}

func TestStandingOfManyAtOnce(t *testing.T) {
	f := setUp(t)
	ofA, certA := f.enrol(t, f.a, f.dirA, "a")
	ofB, certB := f.enrol(t, f.b, f.dirB, "b")
	refs := []AgentRef{{f.a, ofA.ID, certA.Serial}}
	for i := range 2*standingChunk + 5 {
		refs = append(refs, AgentRef{f.a, fmt.Sprintf("nobody-%d", i), "1"})
	}
	refs = append(refs, AgentRef{f.b, ofB.ID, certB.Serial}, AgentRef{f.a, ofB.ID, certB.Serial})
	got, err := f.Standing(t.Context(), refs, f.now)
	if err != nil || len(got) != len(refs) {
		t.Fatalf("%d of %d, %v", len(got), len(refs), err)
	}
	good := 0
	for ref, standing := range got {
		if standing.Code == 0 {
			good++
			if ref.Agent != ofA.ID && ref.Agent != ofB.ID || ref.Scope != map[string]tenant.Scope{ofA.ID: f.a, ofB.ID: f.b}[ref.Agent] {
				t.Errorf("%v is in good standing", ref)
			}
		}
	}
	if good != 2 {
		t.Errorf("%d in good standing", good)
	}
	if _, err := f.Standing(t.Context(), append(refs, AgentRef{}), f.now); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("zero scope: %v", err)
	}
	if got, err := f.Standing(t.Context(), nil, f.now); err != nil || len(got) != 0 {
		t.Errorf("none: %v, %v", got, err)
	}
}

func TestSeen(t *testing.T) {
	f := setUp(t)
	a, _ := f.enrol(t, f.a, f.dirA, "a")
	if !a.LastSeen.IsZero() {
		t.Error("seen before it connected")
	}
	later := f.now.Add(time.Hour)
	if err := f.Seen(t.Context(), f.a, a.ID, Sighting{Host: "new\x00host\n", OS: strings.Repeat("x", 500), Version: "2.0\xff", Address: "198.51.100.1", Skew: -3 * time.Second}, later); err != nil {
		t.Fatal(err)
	}
	got, err := f.ByID(t.Context(), f.a, a.ID)
	if err != nil {
		t.Fatal(err)
	}
	if got.Host != "newhost" || len(got.OS) != maxText || got.Version != "2.0" || got.Address != "198.51.100.1" || !got.LastSeen.Equal(db.Time(db.Millis(later))) {
		t.Errorf("%+v", got)
	}
	want(t, "another tenant", f.Seen(t.Context(), f.b, a.ID, Sighting{}, later), wire.NotFound)
}

func TestTwoTenantsNeverMeet(t *testing.T) {
	f := setUp(t)
	ofA, _ := f.enrol(t, f.a, f.dirA, "dc1")
	ofB, _ := f.enrol(t, f.b, f.dirB, "dc1")
	if ofA.Name != ofB.Name {
		t.Errorf("%q and %q", ofA.Name, ofB.Name)
	}
	_, err := f.ByID(t.Context(), f.a, ofB.ID)
	want(t, "ByID", err, wire.NotFound)
	want(t, "Revoke", f.Revoke(t.Context(), f.a, ofB.ID, "", f.now), wire.NotFound)
	want(t, "Remove", f.Remove(t.Context(), f.a, ofB.ID, f.now), wire.NotFound)
	_, _, err = f.CreateToken(t.Context(), f.a, NewToken{DirectoryID: f.dirB}, f.now)
	want(t, "a token for another tenant's directory", err, wire.NotFound)
	for scope, id := range map[tenant.Scope]string{f.a: ofA.ID, f.b: ofB.ID} {
		list, err := f.List(t.Context(), scope, "", 0)
		if err != nil || len(list) != 1 || list[0].ID != id || list[0].State != Active {
			t.Errorf("%v, %v", list, err)
		}
	}
	f.token(t, f.b, f.dirB, 5, 0)
	tokens, err := f.Tokens(t.Context(), f.a)
	if err != nil {
		t.Fatal(err)
	}
	for _, tok := range tokens {
		if tok.DirectoryID != f.dirA {
			t.Errorf("another tenant's token: %+v", tok)
		}
	}
}

func TestZeroScopeFailsClosed(t *testing.T) {
	f := setUp(t)
	ctx, now := t.Context(), f.now
	var zero tenant.Scope
	calls := map[string]error{
		"RemoveToken": f.RemoveToken(ctx, zero, "x", now), "Revoke": f.Revoke(ctx, zero, "x", "", now),
		"Remove": f.Remove(ctx, zero, "x", now), "Seen": f.Seen(ctx, zero, "x", Sighting{}, now),
	}
	_, _, calls["CreateToken"] = f.CreateToken(ctx, zero, NewToken{DirectoryID: f.dirA}, now)
	_, calls["Tokens"] = f.Tokens(ctx, zero)
	_, calls["ByID"] = f.ByID(ctx, zero, "x")
	_, calls["ByName"] = f.ByName(ctx, zero, "x")
	_, calls["List"] = f.List(ctx, zero, "", 0)
	_, calls["Rename"] = f.Rename(ctx, zero, "x", "y", now)
	for name, err := range calls {
		if !errors.Is(err, tenant.ErrNoScope) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokenBounds(t *testing.T) {
	f := setUp(t)
	for name, n := range map[string]NewToken{
		"too many uses": {DirectoryID: f.dirA, Uses: maxUses + 1}, "negative uses": {DirectoryID: f.dirA, Uses: -1},
		"too long": {DirectoryID: f.dirA, Life: maxTokenLife + 1}, "too short": {DirectoryID: f.dirA, Life: time.Second}, "negative life": {DirectoryID: f.dirA, Life: -1},
	} {
		_, _, err := f.CreateToken(t.Context(), f.a, n, f.now)
		want(t, name, err, wire.BadRequest)
	}
	for _, id := range []string{"", "nobody", "a\x00b"} {
		_, _, err := f.CreateToken(t.Context(), f.a, NewToken{DirectoryID: id}, f.now)
		want(t, "directory "+id, err, wire.NotFound)
	}
	f.token(t, f.a, f.dirA, 1, time.Minute)
	f.now = f.now.Add(time.Hour)
	f.token(t, f.a, f.dirA, 1, 0)
	if list, err := f.Tokens(t.Context(), f.a); err != nil || len(list) != 1 {
		t.Errorf("an expired token was not swept: %v, %v", list, err)
	}
}

func TestPages(t *testing.T) {
	f := setUp(t)
	_, secret := f.token(t, f.a, f.dirA, 7, 0)
	e := enrolment(t, "h")
	for range 7 {
		e.Instance = strings.ToLower(rand.Text())
		if _, _, _, err := f.Enrol(t.Context(), secret, e, f.now); err != nil {
			t.Fatal(err)
		}
	}
	var names []string
	for after := ""; ; {
		page, err := f.List(t.Context(), f.a, after, 3)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) == 0 {
			break
		}
		for _, a := range page {
			names = append(names, a.Name)
		}
		after = page[len(page)-1].ID
	}
	if got := strings.Join(names, " "); got != "h h-2 h-3 h-4 h-5 h-6 h-7" {
		t.Error(got)
	}
}

func TestRemovingADirectoryTakesItsTokens(t *testing.T) {
	f := setUp(t)
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	if err := tenant.NewStore(f.db).RemoveDirectory(context.Background(), f.a, f.dirA, f.now); err != nil {
		t.Fatal(err)
	}
	_, _, _, err := f.Enrol(t.Context(), secret, enrolment(t, "h"), f.now)
	want(t, "a token of a directory that is gone", err, wire.EnrolTokenInvalid)
}

func TestCleanNames(t *testing.T) {
	for typed, want := range map[string]string{"AZ-az_09.x": "az-az_09.x", "-_.a": "a", "a{`/:b": "ab", "": "", "é": "", strings.Repeat("a", maxName+1): strings.Repeat("a", maxName)} {
		if got := cleanName(typed); got != want {
			t.Errorf("%q became %q, want %q", typed, got, want)
		}
	}
}

func FuzzNames(f *testing.F) {
	f.Add("DC1.corp.example")
	f.Add("--..a\x00ß")
	f.Add(strings.Repeat("é", 100))
	f.Fuzz(func(t *testing.T, s string) {
		name := cleanName(s)
		if len(name) > maxName || cleanName(name) != name {
			t.Errorf("%q", name)
		}
		if line := clip(s, maxText); len(line) > maxText || strings.ContainsAny(line, "\x00\n\r\x1b") || clip(line, maxText) != line {
			t.Errorf("%q", line)
		}
	})
}
