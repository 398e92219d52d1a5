package fleet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
)

func TestNext(t *testing.T) {
	const no State = ""
	for _, row := range []struct {
		state                                    State
		drain, resume, revoke, clone, reregister State
	}{
		{Active, Drained, Active, Revoked, Quarantined, Active},
		{Drained, Drained, Active, Revoked, Quarantined, Drained},
		{Pending, no, no, Revoked, Quarantined, Pending},
		{Quarantined, no, no, Revoked, Quarantined, Active},
		{Revoked, no, no, Revoked, Revoked, Active},
	} {
		for e, want := range map[Event]State{Drain: row.drain, Resume: row.resume, Revoke: row.revoke, Clone: row.clone, Contradict: row.clone, Lie: row.clone, Reregister: row.reregister} {
			got, err := Next(row.state, e)
			if want == no {
				if fault.CodeOf(err) != wire.Conflict || got != row.state {
					t.Errorf("%s, %s: %s, %v", row.state, e, got, err)
				}
			} else if err != nil || got != want {
				t.Errorf("%s, %s: %s, %v, want %s", row.state, e, got, err, want)
			}
		}
	}
	for s, want := range map[State][2]State{Pending: {Active, Revoked}, Active: {Active, no}, Drained: {Drained, no}, Quarantined: {no, no}, Revoked: {no, no}} {
		if got, err := Next(s, Approve); want[0] == no && fault.CodeOf(err) != wire.Conflict || want[0] != no && got != want[0] {
			t.Errorf("%s, approve: %s, %v", s, got, err)
		}
		if got, err := Next(s, Deny); want[1] == no && fault.CodeOf(err) != wire.Conflict || want[1] != no && got != want[1] {
			t.Errorf("%s, deny: %s, %v", s, got, err)
		}
	}
	if _, err := Next(Active, "explode"); fault.CodeOf(err) != wire.Conflict {
		t.Error(err)
	}
}

func TestStandingRule(t *testing.T) {
	now := time.Now()
	soon, gone := now.Add(time.Hour), now.Add(-time.Second)
	c := credentials{state: Active, current: credential{"b", soon}, next: credential{"c", soon}, former: "a", formerUntil: soon}
	with := func(change func(*credentials)) credentials { d := c; change(&d); return d }
	for name, test := range map[string]struct {
		c               credentials
		presented       string
		stays, connects wire.Code
	}{
		"current":                  {c, "b", 0, 0},
		"next":                     {c, "c", 0, 0},
		"former, in its grace":     {c, "a", 0, wire.CertificateSuperseded},
		"former, later":            {with(func(c *credentials) { c.formerUntil = gone }), "a", wire.CertificateSuperseded, wire.CertificateSuperseded},
		"unknown":                  {c, "x", wire.CertificateForeign, wire.CertificateForeign},
		"none":                     {c, "", wire.CertificateForeign, wire.CertificateForeign},
		"none, and no next":        {with(func(c *credentials) { c.next, c.former = credential{}, "" }), "", wire.CertificateForeign, wire.CertificateForeign},
		"current, expired":         {with(func(c *credentials) { c.current.notAfter = gone }), "b", wire.CertificateExpired, wire.CertificateExpired},
		"next, expired":            {with(func(c *credentials) { c.next.notAfter = gone }), "c", wire.CertificateExpired, wire.CertificateExpired},
		"next, current is expired": {with(func(c *credentials) { c.current.notAfter = gone }), "c", 0, 0},
		"drained":                  {with(func(c *credentials) { c.state = Drained }), "b", 0, 0},
		"quarantined":              {with(func(c *credentials) { c.state = Quarantined }), "b", wire.AgentQuarantined, wire.AgentQuarantined},
		"pending":                  {with(func(c *credentials) { c.state = Pending }), "b", wire.AgentPending, wire.AgentPending},
		"revoked":                  {with(func(c *credentials) { c.state = Revoked }), "a", wire.AgentRevoked, wire.AgentRevoked},
		"a state of the future":    {with(func(c *credentials) { c.state = "later" }), "b", wire.AgentRevoked, wire.AgentRevoked},
	} {
		if got := test.c.standing(test.presented, false, now); got != test.stays {
			t.Errorf("%s: a stream stays with %d, want %d", name, got, test.stays)
		}
		if got := test.c.standing(test.presented, true, now); got != test.connects {
			t.Errorf("%s: a stream begins with %d, want %d", name, got, test.connects)
		}
	}
}

func TestCounts(t *testing.T) {
	for _, test := range []struct {
		confirmed, presented uint64
		want                 bool
	}{{0, 0, true}, {0, 1, true}, {7, 8, true}, {7, 12, true}, {7, 7, false}, {7, 6, false}, {7, 0, false}, {7, 1 << 63, false}, {7, 1<<63 - 1, true}, {0, 1 << 63, false}} {
		if got := counts(test.confirmed, test.presented); got != test.want {
			t.Errorf("%d after %d: %v", test.presented, test.confirmed, got)
		}
	}
}

// host is an agent with its keys.
type host struct {
	f     fixture
	agent Agent
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate
}

func (f fixture) host(t *testing.T, name string) *host {
	t.Helper()
	_, secret := f.token(t, f.a, f.dirA, 1, 0)
	h := &host{f: f}
	e := h.enrolment(t, name)
	_, a, cert, err := f.Enrol(t.Context(), secret, e, f.now)
	if err != nil {
		t.Fatal(err)
	}
	h.agent, h.chain = a, chainOf(t, cert)
	return h
}

// enrolment makes fresh keys.
func (h *host) enrolment(t *testing.T, name string) Enrolment {
	t.Helper()
	e := enrolment(t, name)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		t.Fatal(err)
	}
	if e.CSR, err = x509.ParseCertificateRequest(der); err != nil {
		t.Fatal(err)
	}
	h.key = key
	return e
}

// again is a registration of a host that proves who it was, for a token.
func (h *host) again(t *testing.T, secret string) Enrolment {
	t.Helper()
	old := h.key
	e := h.enrolment(t, h.agent.Name)
	proof := sha256.Sum256(wire.AgainProof(hashSecret(secret), e.CSR.Raw, e.EnvelopeKey))
	signature, err := ecdsa.SignASN1(rand.Reader, old, proof[:])
	if err != nil {
		t.Fatal(err)
	}
	e.Former = &Former{Chain: h.chain, Signature: signature}
	return e
}

func serial(h *host) string { return h.chain[0].SerialNumber.Text(16) }

func TestRenewalSwitchesWhenTheAgentComes(t *testing.T) {
	f := setUp(t)
	h := f.host(t, "a")
	connect := func(stream, serial string, counter uint64) (Agent, error) {
		return f.Connect(t.Context(), f.a, h.agent.ID, Connection{Stream: stream, Serial: serial, Counter: counter}, f.now)
	}
	old := serial(h)
	if _, err := connect("s1", old, 1); err != nil {
		t.Fatal(err)
	}
	renew := func(stream string) (Renewal, string, error) {
		e := h.enrolment(t, "a")
		r := Renewal{Connection: Connection{Stream: stream, Serial: old}, CSR: e.CSR, EnvelopeSuite: e.EnvelopeSuite, EnvelopeKey: e.EnvelopeKey, KeyStore: "tpm"}
		cert, err := f.Renew(t.Context(), f.a, h.agent.ID, r, f.now)
		return r, cert.Serial, err
	}
	_, _, err := renew("another stream")
	want(t, "on a stream that is not the agent's last", err, wire.Conflict)
	_, lost, err := renew("s1") // the answer to this one never arrives
	if err != nil {
		t.Fatal(err)
	}
	r, next, err := renew("s1")
	if err != nil {
		t.Fatal(err)
	}
	a, err := f.ByID(t.Context(), f.a, h.agent.ID)
	if err != nil || a.Key.ID() != h.agent.Key.ID() || a.CertificateSerial != old || !a.Renewing || a.KeyStore != "file" {
		t.Errorf("before it comes: %+v, %v", a, err)
	}
	ahead := r
	ahead.Connection = Connection{Stream: "s1", Serial: next}
	_, err = f.Renew(t.Context(), f.a, h.agent.ID, ahead, f.now)
	want(t, "a renewal with a certificate that no stream has come with", err, wire.Conflict)
	if got, err := connect("s2", old, 2); err != nil || !got.Renewing {
		t.Errorf("with the old certificate: %v", err)
	}
	_, err = connect("s3", lost, 3)
	want(t, "with a renewal that was replaced", err, wire.CertificateSuperseded)
	a, err = connect("s4", next, 4)
	if err != nil {
		t.Fatal(err)
	}
	if string(a.Key.Bytes()) != string(r.EnvelopeKey) || a.CertificateSerial != next || a.Renewing || a.KeyStore != "tpm" || a.Counter != 4 || a.Renewed.IsZero() {
		t.Errorf("after it came: %+v", a)
	}
	_, err = connect("s5", old, 5)
	want(t, "a new stream with the old certificate", err, wire.CertificateSuperseded)
	ref := AgentRef{f.a, h.agent.ID, old}
	for at, code := range map[time.Time]wire.Code{f.now: 0, f.now.Add(formerGrace + time.Second): wire.CertificateSuperseded} {
		if all, err := f.Standing(t.Context(), []AgentRef{ref}, at); err != nil || all[ref].Code != code {
			t.Errorf("an old stream: %+v, %v, want %d", all, err, code)
		}
	}
	_, _, err = renew("s4") // as one that goes on with what it had
	want(t, "a renewal with the old certificate", err, wire.CertificateSuperseded)
	same := r
	same.Connection = Connection{Stream: "s4", Serial: next}
	_, err = f.Renew(t.Context(), f.a, h.agent.ID, same, f.now)
	want(t, "a renewal with the envelope key that it has", err, wire.EnrolRequestInvalid)
	_, err = connect("s6", next, 4)
	want(t, "a used number", err, wire.IdentityOlder)
	_, err = connect("s7", next, 0)
	want(t, "no number any more", err, wire.IdentityOlder)
	_, err = f.Connect(t.Context(), f.b, h.agent.ID, Connection{Stream: "s8", Serial: next, Counter: 9}, f.now)
	want(t, "in another tenant", err, wire.AgentUnknown)
	der, err := f.Revocations(t.Context(), mustIssuer(t, f), f.now)
	if err != nil {
		t.Fatal(err)
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil || len(list.RevokedCertificateEntries) != 2 {
		t.Fatalf("%v, %d entries, not the old one and the lost one", err, len(list.RevokedCertificateEntries))
	}
	for _, e := range list.RevokedCertificateEntries {
		if s := e.SerialNumber.Text(16); s != old && s != lost || e.ReasonCode != superseded {
			t.Errorf("entry %s, reason %d", s, e.ReasonCode)
		}
	}
}

func mustIssuer(t *testing.T, f fixture) (id string) {
	t.Helper()
	if err := f.db.Reader().QueryRowContext(t.Context(), `SELECT id FROM agent_issuer WHERE tenant_id = $1`, f.a.String()).Scan(&id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestAgain(t *testing.T) {
	f := setUp(t)
	tenants := tenant.NewStore(f.db)
	elsewhere, err := tenants.CreateDirectory(t.Context(), f.a, "elsewhere", false, f.now)
	if err != nil {
		t.Fatal(err)
	}
	usual := func(t *testing.T, scope tenant.Scope, directory string) string {
		_, secret := f.token(t, scope, directory, 1, 60*24*time.Hour)
		return secret
	}
	released := func(t *testing.T, h *host) string {
		_, secret, err := f.Release(t.Context(), f.a, h.agent.ID, Actor{}, f.now)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	here := func(t *testing.T, _ *host) string { return usual(t, f.a, f.dirA) }
	none := func(*testing.T, *host) {}
	freeze := func(t *testing.T, h *host) {
		if fresh, err := f.Quarantine(t.Context(), f.a, h.agent.ID, Clone, "test", f.now); err != nil || !fresh {
			t.Fatal(fresh, err)
		}
	}
	revoke := func(t *testing.T, h *host) {
		if err := f.Revoke(t.Context(), f.a, h.agent.ID, "test", f.now); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(t *testing.T, h *host) {
		if err := f.Remove(t.Context(), f.a, h.agent.ID, f.now); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct {
		before func(*testing.T, *host)
		token  func(*testing.T, *host) string
		spoil  func(*Enrolment)
		at     time.Duration
		want   wire.Code
	}{
		"a living agent":                     {none, here, nil, 0, 0},
		"expired":                            {none, here, nil, 31 * 24 * time.Hour, 0},
		"removed":                            {remove, here, nil, 0, 0},
		"quarantined, with a usual token":    {freeze, here, nil, 0, wire.AgentQuarantined},
		"quarantined and released":           {freeze, released, nil, 0, 0},
		"released, without the old keys":     {freeze, released, func(e *Enrolment) { e.Former = nil }, 0, 0},
		"revoked, with a usual token":        {revoke, here, nil, 0, wire.AgentRevoked},
		"revoked and released":               {revoke, released, nil, 0, 0},
		"revoked and removed":                {func(t *testing.T, h *host) { revoke(t, h); remove(t, h) }, here, nil, 0, wire.FormerUnproven},
		"quarantined and removed":            {func(t *testing.T, h *host) { freeze(t, h); remove(t, h) }, here, nil, 0, wire.FormerUnproven},
		"with a token of another directory":  {none, func(t *testing.T, _ *host) string { return usual(t, f.a, elsewhere.ID) }, nil, 0, wire.FormerUnproven},
		"with a token of another tenant":     {none, func(t *testing.T, _ *host) string { return usual(t, f.b, f.dirB) }, nil, 0, wire.FormerUnproven},
		"without a signature":                {none, here, func(e *Enrolment) { e.Former.Signature = []byte("x") }, 0, wire.FormerUnproven},
		"with the signature of another":      {none, here, func(e *Enrolment) { e.EnvelopeKey = enrolment(t, "x").EnvelopeKey }, 0, wire.FormerUnproven},
		"with no certificate":                {none, here, func(e *Enrolment) { e.Former.Chain = nil }, 0, wire.FormerUnproven},
		"with the certificate of the issuer": {none, here, func(e *Enrolment) { e.Former.Chain = e.Former.Chain[1:] }, 0, wire.FormerUnproven},
	} {
		t.Run(name, func(t *testing.T) {
			h := f.host(t, "host")
			if _, err := f.Connect(t.Context(), f.a, h.agent.ID, Connection{Stream: "s", Serial: serial(h), Counter: 9}, f.now); err != nil {
				t.Fatal(err)
			}
			test.before(t, h)
			secret := test.token(t, h)
			old := serial(h)
			e := h.again(t, secret)
			if test.spoil != nil {
				test.spoil(&e)
			}
			scope, a, cert, err := f.Enrol(t.Context(), secret, e, f.now.Add(test.at))
			want(t, name, err, test.want)
			if err != nil {
				return
			}
			stored, err := f.ByID(t.Context(), f.a, h.agent.ID)
			if err != nil || scope != f.a || a.ID != h.agent.ID || stored.Name != h.agent.Name || stored.State != Active || stored.Counter != 0 ||
				stored.CertificateSerial != cert.Serial || stored.Key.ID() == h.agent.Key.ID() || stored.RevokedReason != "" || stored.StateReason != "" {
				t.Errorf("%+v, %v", stored, err)
			}
			_, err = f.Connect(t.Context(), f.a, a.ID, Connection{Stream: "s2", Serial: old, Counter: 10}, f.now)
			want(t, "with the old certificate", err, wire.CertificateSuperseded)
			if _, err := f.Connect(t.Context(), f.a, a.ID, Connection{Stream: "s3", Serial: cert.Serial, Counter: 1}, f.now.Add(test.at)); err != nil {
				t.Error(err)
			}
			_, _, _, err = f.Enrol(t.Context(), secret, h.again(t, secret), f.now)
			want(t, "the token's second use", err, wire.EnrolTokenInvalid)
			remove(t, h)
		})
	}
}

func TestOrderedRenewalsAreSpread(t *testing.T) {
	f := setUp(t)
	const agents, spread = 40, 10 * time.Minute
	for range agents {
		f.enrol(t, f.a, f.dirA, "a")
	}
	other, _ := f.enrol(t, f.b, f.dirB, "b")
	n, err := f.OrderRenewal(t.Context(), f.a, "", spread, f.now)
	if err != nil || n != agents {
		t.Fatal(n, err)
	}
	all, err := f.List(t.Context(), f.a, "", 0)
	if err != nil {
		t.Fatal(err)
	}
	quarters := map[int]int{}
	for _, a := range all {
		after := a.RenewAfter.Sub(f.now)
		if after < -time.Second || after > spread {
			t.Errorf("after %v", after)
		}
		quarters[int(after/(spread/4))]++
	}
	if len(quarters) < 3 { // 40 agents in two quarters of the time: once in 10^11
		t.Errorf("not spread: %v", quarters)
	}
	if b, err := f.ByID(t.Context(), f.b, other.ID); err != nil || !b.RenewAfter.IsZero() {
		t.Errorf("another tenant's agent: %v, %v", b.RenewAfter, err)
	}
	_, err = f.OrderRenewal(t.Context(), f.a, other.ID, 0, f.now)
	want(t, "of another tenant", err, wire.NotFound)
	_, err = f.OrderRenewal(t.Context(), f.a, "", -1, f.now)
	want(t, "before now", err, wire.BadRequest)
	_, err = f.OrderRenewal(t.Context(), f.a, "", maxRenewSpread+1, f.now)
	want(t, "spread too far", err, wire.BadRequest)
	if n, err := f.OrderRenewal(t.Context(), f.a, "", maxRenewSpread, f.now); err != nil || n != agents {
		t.Errorf("spread as far as may be: %d, %v", n, err)
	}
}

func TestZeroScopeOfTheNewOnes(t *testing.T) {
	f := setUp(t)
	ctx, zero := t.Context(), tenant.Scope{}
	_, drain := f.Drain(ctx, zero, "x", f.now)
	_, resume := f.Resume(ctx, zero, "x", f.now)
	_, freeze := f.Quarantine(ctx, zero, "x", Clone, "", f.now)
	_, _, release := f.Release(ctx, zero, "x", Actor{}, f.now)
	_, order := f.OrderRenewal(ctx, zero, "", 0, f.now)
	_, history := f.History(ctx, zero, "x")
	_, connect := f.Connect(ctx, zero, "x", Connection{}, f.now)
	_, renew := f.Renew(ctx, zero, "x", Renewal{}, f.now)
	for what, err := range map[string]error{"Drain": drain, "Resume": resume, "Quarantine": freeze, "Release": release, "OrderRenewal": order,
		"History": history, "Connect": connect, "Renew": renew, "Suspect": f.Suspect(ctx, zero, "x", f.now)} {
		if err != tenant.ErrNoScope {
			t.Errorf("%s: %v", what, err)
		}
	}
}
