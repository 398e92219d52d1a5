package gateway_test

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/agent/identity"
	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// folder registers an agent whose identity lies in a folder.
func (w *world) folder(d *door, name string) string {
	w.t.Helper()
	m := w.register(d, name)
	var chain []*x509.Certificate
	for _, der := range m.certificate.Certificate {
		chain = append(chain, fatal(x509.ParseCertificate(der))(w.t))
	}
	roots := fatal(os.ReadFile(w.local.CertificateFile()))(w.t)
	id := fatal(identity.New(identity.Facts{Service: "https://signin.example", Gateway: d.address, GatewayCA: string(roots), TenantID: m.answer.TenantID,
		TenantName: "corp", DirectoryID: m.answer.DirectoryID, DirectoryName: "ad", AgentID: m.answer.AgentID, AgentName: name,
		TrustDomain: m.answer.TrustDomain, Registered: time.Now()}, m.certificate.PrivateKey.(crypto.Signer), chain, m.key))(w.t)
	dir := filepath.Join(w.t.TempDir(), "state")
	if err := identity.Save(dir, id, false); err != nil {
		w.t.Fatal(err)
	}
	return dir
}

// kept shows a keeper's identity, as package agent does. With deaf set, it does not hear that it was welcomed.
type kept struct {
	*identity.Keeper
	deaf     bool
	welcomes *atomic.Int32
}

func (k kept) Gateway() string              { return k.Current().Gateway() }
func (k kept) GatewayRoots() *x509.CertPool { return k.Current().GatewayRoots() }
func (k kept) Passport() link.Passport {
	id, counter, _ := k.Show()
	return link.Passport{Certificate: id.TLSCertificate(), EnvelopeKeyID: id.EnvelopeKey().Public().ID(), Counter: counter}
}
func (k kept) Welcomed(p link.Passport) {
	if !k.deaf {
		_, _ = k.Confirmed(p.Certificate.Leaf.SerialNumber.Text(16), time.Now())
	}
	k.welcomes.Add(1)
}
func (k kept) Refused(p link.Passport, _ wire.Code) bool {
	return k.Rejected(p.Certificate.Leaf.SerialNumber.Text(16))
}

// host is a running agent over a folder, without the part that renews by itself.
type host struct {
	*link.Link
	k    kept
	stop func()
}

// start opens a folder and attaches.
func (w *world) start(dir string, deaf bool) *host {
	w.t.Helper()
	k := kept{fatal(identity.OpenKeeper(dir))(w.t), deaf, new(atomic.Int32)}
	l := fatal(link.New(link.Config{Identity: k, Handler: yes, Version: "1.0", Host: "h", OS: "linux", Slots: 2}))(w.t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop := sync.OnceFunc(func() { cancel(); <-done; k.Close() })
	w.t.Cleanup(stop)
	until(w.t, "attached", func() bool { return l.Status().State == link.Attached })
	return &host{l, k, stop}
}

// ask asks for a renewal.
func (h *host) ask(t *testing.T) (*identity.Fresh, *linkpb.Renewed) {
	t.Helper()
	fresh := fatal(h.k.Fresh())(t)
	public := fresh.EnvelopeKey()
	answer := fatal(h.Renew(t.Context(), &linkpb.Renew{Id: "r", Csr: fresh.CSR, EnvelopeSuite: uint32(public.Suite()), EnvelopeKey: public.Bytes()}))(t)
	if answer.GetCode() != 0 {
		t.Fatal(answer)
	}
	return fresh, answer
}

// accept stores the next identity.
func (h *host) accept(t *testing.T) {
	t.Helper()
	fresh, answer := h.ask(t)
	if err := h.k.Accept(fresh, answer.GetChain(), time.Now()); err != nil {
		t.Fatal(err)
	}
}

// goOver opens the connection that takes over.
func (h *host) goOver(t *testing.T) {
	t.Helper()
	before := h.k.welcomes.Load()
	h.Rejoin()
	until(t, "gone over", func() bool { return h.k.welcomes.Load() > before })
}

// copyOf is a copy of a folder at this moment.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "copy")
	replaceBy(t, to, dir)
	return to
}

// replaceBy makes dir what from is.
func replaceBy(t *testing.T, dir, from string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o700)
		}
		return os.Chmod(path, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
}

var stateFiles = []string{"tls.key", "envelope.key", "certificate.pem", "agent.json"}

// TestRenewalSurvivesACrashAnywhere stops an agent at every moment of a renewal. What is on the disk then is opened again: it attaches, can
// open what the fleet seals, and renews.
func TestRenewalSurvivesACrashAnywhere(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	crashes := map[string]func(t *testing.T, dir string){
		"with new keys, before it asks": func(t *testing.T, dir string) {
			h := w.start(dir, false)
			fatal(h.k.Fresh())(t)
			h.stop()
		},
		"after the service has signed": func(t *testing.T, dir string) {
			h := w.start(dir, false)
			h.ask(t)
			h.stop()
		},
		"with the next identity stored": func(t *testing.T, dir string) {
			h := w.start(dir, false)
			h.accept(t)
			h.stop()
		},
		"after the service has confirmed, before the agent hears it": func(t *testing.T, dir string) {
			h := w.start(dir, true)
			h.accept(t)
			h.goOver(t)
			h.stop()
		},
		"with the next identity in its place, and not swept": func(t *testing.T, dir string) {
			h := w.start(dir, false)
			h.accept(t)
			next := copyOf(t, filepath.Join(dir, "next"))
			h.goOver(t)
			h.stop()
			replaceBy(t, filepath.Join(dir, "next"), next)
		},
		"after all of it": func(t *testing.T, dir string) {
			h := w.start(dir, false)
			h.accept(t)
			h.goOver(t)
			h.stop()
		},
	}
	for i := range stateFiles {
		crashes["while the next identity is stored, before "+stateFiles[i]] = func(t *testing.T, dir string) {
			h := w.start(dir, false)
			h.accept(t)
			h.stop()
			for _, name := range stateFiles[i:] {
				if err := os.Remove(filepath.Join(dir, "next", name)); err != nil {
					t.Fatal(err)
				}
			}
		}
		crashes["while the next identity is put into its place, before "+stateFiles[i]] = func(t *testing.T, dir string) {
			h := w.start(dir, false)
			h.accept(t)
			before := copyOf(t, dir)
			h.goOver(t)
			h.stop()
			after, counter := copyOf(t, dir), fatal(os.ReadFile(filepath.Join(dir, "counter")))(t)
			replaceBy(t, dir, before)
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "counter"), counter, 0o600), os.Remove(filepath.Join(dir, "agent.json"))); err != nil {
				t.Fatal(err)
			}
			for _, name := range stateFiles[:i] {
				if err := os.WriteFile(filepath.Join(dir, name), fatal(os.ReadFile(filepath.Join(after, name)))(t), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			dir := w.folder(d, "agent")
			crash(t, dir)
			h := w.start(dir, false)
			defer h.stop()
			agent := h.k.Current().Agent()
			row := fatal(w.fleet.ByID(t.Context(), w.scope, agent))(t)
			if _, can := h.k.EnvelopeKey(row.Key.ID(), time.Now()); !can || row.State != fleet.Active {
				t.Errorf("the fleet seals to %s, and the agent (%s) can open that: %v", row.Key.ID(), row.State, can)
			}
			if row.CertificateSerial != h.k.Current().Serial() || h.k.Pending() != nil {
				t.Errorf("the fleet has certificate %s, the agent %s, pending %v", row.CertificateSerial, h.k.Current().Serial(), h.k.Pending() != nil)
			}
			h.accept(t)
			h.goOver(t)
			if got := fatal(w.fleet.ByID(t.Context(), w.scope, agent))(t); got.CertificateSerial == row.CertificateSerial || got.CertificateSerial != h.k.Current().Serial() {
				t.Errorf("a renewal afterwards: %s, the agent has %s", got.CertificateSerial, h.k.Current().Serial())
			}
			if _, err := os.Stat(filepath.Join(dir, "next")); !os.IsNotExist(err) {
				t.Errorf("next is still there: %v", err)
			}
			if r := w.check(t.Context(), d.queue, "r-"+agent); r.err != nil || len(r.outcome.Sealed) == 0 {
				t.Errorf("a check afterwards: %s", r)
			}
			h.stop()
			if err := w.fleet.Remove(t.Context(), w.scope, agent, time.Now()); err != nil {
				t.Fatal(err)
			}
			until(t, "gone", func() bool { return len(d.Attached(w.scope)) == 0 })
		})
	}
}

// TestUnknownRenewalFallsBack: a stored renewal that the service does not know any more is given up, and the agent goes on with what it has.
func TestUnknownRenewalFallsBack(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	dir := w.folder(d, "agent")
	h := w.start(dir, false)
	h.accept(t)
	lost := copyOf(t, filepath.Join(dir, "next"))
	h.stop()
	if err := os.RemoveAll(filepath.Join(dir, "next")); err != nil {
		t.Fatal(err)
	}
	h = w.start(dir, false)
	h.ask(t) // replaces the renewal that lies in lost
	h.stop()
	replaceBy(t, filepath.Join(dir, "next"), lost)
	h = w.start(dir, false)
	if h.k.Pending() != nil {
		t.Error("the unknown renewal is still there")
	}
}

// TestCheckGoesOnOverARenewal: a check in flight when the agent goes over is answered on the old connection.
func TestCheckGoesOnOverARenewal(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	dir := w.folder(d, "agent")
	reached, release := make(chan struct{}), make(chan struct{})
	k := kept{fatal(identity.OpenKeeper(dir))(t), false, new(atomic.Int32)}
	defer k.Close()
	l := fatal(link.New(link.Config{Identity: k, Version: "1.0", Host: "h", OS: "linux", Slots: 2,
		Handler: handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
			if c.GetRequestId() == "slow" {
				close(reached)
				<-release
			}
			return yes(ctx, c, fence)
		})}))(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	defer func() { cancel(); <-done }()
	h := &host{Link: l, k: k}
	until(t, "attached", func() bool { return l.Status().State == link.Attached })
	ended := make(chan result, 1)
	go func() { ended <- w.check(t.Context(), d.queue, "slow") }()
	<-reached
	h.accept(t)
	h.goOver(t)
	if r := w.check(t.Context(), d.queue, "quick"); r.err != nil || len(r.outcome.Sealed) == 0 {
		t.Errorf("on the new connection: %s", r)
	}
	close(release)
	if r := <-ended; r.err != nil || len(r.outcome.Sealed) == 0 || !r.fenced {
		t.Errorf("the one in flight: %s", r)
	}
}

// valve passes bytes between agents and a gateway until it is shut: then nothing arrives any more, in either direction, and no end either.
type valve struct {
	net.Listener
	shut atomic.Bool
}

func newValve(t *testing.T, to string) *valve {
	t.Helper()
	v := &valve{Listener: fatal(net.Listen("tcp", "127.0.0.1:0"))(t)}
	var conns sync.Map
	t.Cleanup(func() {
		_ = v.Close()
		conns.Range(func(c, _ any) bool { _ = c.(net.Conn).Close(); return true })
	})
	pass := func(from, to net.Conn) {
		b := make([]byte, 16<<10)
		for {
			n, err := from.Read(b)
			if v.shut.Load() {
				if err != nil {
					return
				}
				continue
			}
			if _, werr := to.Write(b[:n]); err != nil || werr != nil {
				_ = to.Close()
				return
			}
		}
	}
	go func() {
		for {
			near, err := v.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", to)
			if err != nil {
				_ = near.Close()
				continue
			}
			conns.Store(near, nil)
			conns.Store(far, nil)
			go pass(near, far)
			go pass(far, near)
		}
	}()
	return v
}

// diary counts a gateway's log lines by their message.
type diary struct {
	slog.Handler
	mu   sync.Mutex
	said map[string]int
}

func newDiary() *diary { return &diary{Handler: slog.DiscardHandler, said: map[string]int{}} }

func (d *diary) Enabled(context.Context, slog.Level) bool { return true }
func (d *diary) WithAttrs([]slog.Attr) slog.Handler       { return d }
func (d *diary) WithGroup(string) slog.Handler            { return d }
func (d *diary) Handle(_ context.Context, r slog.Record) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.said[r.Message]++
	return nil
}

func (d *diary) times(message string) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.said[message]
}

// copies of one identity share nothing but keys; a member that counts and its later connections share the counter.
func counting(m *member, from uint64) *member {
	c := *m
	c.counter = new(atomic.Uint64)
	c.counter.Store(from)
	return &c
}

// TestLostNetworkIsNoCopy: an agent whose network is lost, so that its gateway still holds the dead stream, comes to the same gateway and
// to another. Neither is taken for a copy; the dead streams end.
func TestLostNetworkIsNoCopy(t *testing.T) {
	w := newWorld(t)
	url := broker(t)
	log := newDiary()
	written := func(c *gateway.Config) { c.Logger = slog.New(log) }
	one, two := w.gateway(w.queue(url), written), w.gateway(w.queue(url), written)
	for name, to := range map[string]*door{"the same gateway": one, "another gateway": two} {
		t.Run(name, func(t *testing.T) {
			m := counting(w.register(one, "a"), 0)
			v := newValve(t, one.address)
			m.gateway = v.Addr().String()
			a := w.attach(m, 1, yes)
			v.shut.Store(true)
			go func() { _ = a.stop() }() // what it says does not arrive
			m.gateway = to.address
			before := log.times("agent detached")
			w.attach(m, 1, yes)
			until(t, "the dead stream's end", func() bool { return log.times("agent detached") > before })
			if len(one.Attached(w.scope))+len(two.Attached(w.scope)) != 1 {
				t.Error("the living one is not attached any more")
			}
			if row := fatal(w.fleet.ByID(t.Context(), w.scope, m.answer.AgentID))(t); row.State != fleet.Active {
				t.Errorf("%s: %s", row.State, row.StateReason)
			}
			if err := w.fleet.Remove(t.Context(), w.scope, m.answer.AgentID, time.Now()); err != nil {
				t.Fatal(err)
			}
			until(t, "gone", func() bool { return len(one.Attached(w.scope))+len(two.Attached(w.scope)) == 0 })
		})
	}
}

// TestCopyOnAnotherGateway: two live holders on two gateways are found out, whichever came first, and both are told.
func TestCopyOnAnotherGateway(t *testing.T) {
	w := newWorld(t)
	url := broker(t)
	one, two := w.gateway(w.queue(url), nil), w.gateway(w.queue(url), nil)
	m := counting(w.register(one, "a"), 0)
	first := w.attach(m, 1, yes)
	thief := counting(m, m.counter.Load())
	thief.gateway = two.address
	second := w.dial(thief, 1, yes)
	for _, a := range []*attached{first, second} {
		until(t, "refused", func() bool { return a.Status().State == link.RefusedFor })
		var refused *link.Refused
		if err := a.stop(); !errors.As(err, &refused) || refused.Code != wire.AgentQuarantined || !strings.Contains(refused.Text, "agent release") {
			t.Errorf("told %v", err)
		}
	}
	if r := w.check(t.Context(), one.queue, "r"); r.err == nil {
		t.Errorf("a frozen agent is offered: %s", r)
	}
}

// TestLatePacketIsNoCopy: a Hello that an agent has given up, and that arrives after its next connection, freezes nobody.
func TestLatePacketIsNoCopy(t *testing.T) {
	w := newWorld(t)
	log := newDiary()
	d := w.gateway(w.queue(""), func(c *gateway.Config) { c.Logger = slog.New(log) })
	m := counting(w.register(d, "a"), 5)
	w.attach(m, 1, yes)
	n := w.near(m)
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: 2, Slots: 1, Counter: 5}}})
	if p := n.recv().GetProbe(); len(p.GetNonce()) == 0 {
		t.Error("it was not asked whether it is alive")
	}
	_ = n.conn.Close()
	until(t, "refused", func() bool { return log.times("agent refused") > 0 })
	if log.times("an agent came with an older state of its identity: reset to a snapshot, restored from a backup, or a copy") > 0 {
		t.Error("an alarm for a packet that was late")
	}
	row := fatal(w.fleet.ByID(t.Context(), w.scope, m.answer.AgentID))(t)
	if row.State != fleet.Active || len(d.Attached(w.scope)) != 1 {
		t.Errorf("%s: %s, %v", row.State, row.StateReason, d.Attached(w.scope))
	}
}

// TestAgentsOfVersionOne are served as ever: they count nothing, and a second connection replaces the first.
func TestAgentsOfVersionOne(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a")
	first := w.near(m)
	if got := first.hello(1, 1).GetWelcome(); got.GetProtocolVersion() != 1 {
		t.Fatal(got)
	}
	if got := w.near(m).hello(1, 1).GetWelcome(); got.GetProtocolVersion() != 1 {
		t.Fatal(got)
	}
	if g := first.recv().GetGoodbye(); g.GetCode() != uint32(wire.AgentReplaced) || g.GetPermanent() {
		t.Errorf("the first was told %v", g)
	}
	if row := fatal(w.fleet.ByID(t.Context(), w.scope, m.answer.AgentID))(t); row.State != fleet.Active {
		t.Error(row.State)
	}
	// One that has counted cannot stop: that is how a copy would hide.
	w.attach(counting(m, 0), 1, yes)
	n := w.near(m)
	n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: 1, Slots: 1}}})
	if got := n.recv(); got.GetProbe() == nil && got.GetGoodbye().GetCode() != uint32(wire.IdentityOlder) {
		t.Errorf("uncounted after counted: %v", got)
	}
}

// TestClockIsSaidAndBounded: a clock that is off is kept with the agent; one too far off is refused with words, not for good.
func TestClockIsSaidAndBounded(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	for _, test := range []struct {
		off  time.Duration
		code wire.Code
	}{{0, 0}, {20 * time.Second, 0}, {-20 * time.Second, 0}, {10 * time.Minute, wire.ClockSkew}, {-10 * time.Minute, wire.ClockSkew}} {
		m := w.register(d, "a")
		n := w.near(m)
		n.send(&linkpb.FromAgent{Message: &linkpb.FromAgent_Hello{Hello: &linkpb.Hello{ProtocolVersion: 2, Slots: 1, UnixMs: time.Now().Add(test.off).UnixMilli()}}})
		got := n.recv()
		if g := got.GetGoodbye(); g.GetCode() != uint32(test.code) || g.GetPermanent() || test.code == 0 && got.GetWelcome() == nil {
			t.Errorf("%v off: %v", test.off, got)
		}
		until(t, "the clock in the fleet", func() bool {
			row := fatal(w.fleet.ByID(t.Context(), w.scope, m.answer.AgentID))(t)
			return !row.LastSeen.IsZero() && (row.Skew+test.off).Abs() < 5*time.Second
		})
		_ = n.conn.Close()
	}
}

// TestDrainedGetsNoOffers: a drained agent is not offered and stays attached; resumed, it is offered again.
func TestDrainedGetsNoOffers(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a")
	w.attach(m, 1, yes)
	turn := func(f func() (fleet.Agent, error)) {
		fatal(f())(t)
		if err := d.queue.Announce(queue.Change{Tenant: w.scope.String(), Agent: m.answer.AgentID}); err != nil {
			t.Fatal(err)
		}
	}
	turn(func() (fleet.Agent, error) { return w.fleet.Drain(t.Context(), w.scope, m.answer.AgentID, time.Now()) })
	until(t, "no offers", func() bool { return w.check(t.Context(), d.queue, "r1").err != nil })
	if len(d.Attached(w.scope)) != 1 {
		t.Error("it is not attached any more")
	}
	turn(func() (fleet.Agent, error) { return w.fleet.Resume(t.Context(), w.scope, m.answer.AgentID, time.Now()) })
	until(t, "offers", func() bool { return w.check(t.Context(), d.queue, "r2").err == nil })
}

// TestRevocationList: the list of a tenant's issuer is public, cached, and says what is over.
func TestRevocationList(t *testing.T) {
	w := newWorld(t)
	d := w.gateway(w.queue(""), nil)
	m := w.register(d, "a")
	if err := w.fleet.Revoke(t.Context(), w.scope, m.answer.AgentID, "test", time.Now()); err != nil {
		t.Fatal(err)
	}
	var issuer string
	if err := w.db.Reader().QueryRowContext(t.Context(), `SELECT id FROM agent_issuer`).Scan(&issuer); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET "+wire.RevocationsPath+"{list}", d.Revocations())
	get := func(name, tag string) *http.Response {
		r := httptest.NewRequest(http.MethodGet, wire.RevocationsPath+name, nil)
		r.Header.Set("If-None-Match", tag)
		recorder := httptest.NewRecorder()
		mux.ServeHTTP(recorder, r)
		return recorder.Result()
	}
	got := get(issuer+".crl", "")
	list := fatal(x509.ParseRevocationList(fatal(io.ReadAll(got.Body))(t)))(t)
	leaf, above := fatal(x509.ParseCertificate(m.certificate.Certificate[0]))(t), fatal(x509.ParseCertificate(m.certificate.Certificate[1]))(t)
	if err := list.CheckSignatureFrom(above); err != nil || len(list.RevokedCertificateEntries) != 1 || list.RevokedCertificateEntries[0].SerialNumber.Cmp(leaf.SerialNumber) != 0 {
		t.Errorf("%v, entries %v", err, list.RevokedCertificateEntries)
	}
	if got.Header.Get("Content-Type") != "application/pkix-crl" || !strings.Contains(got.Header.Get("Cache-Control"), "max-age=60") {
		t.Errorf("headers %v", got.Header)
	}
	if again := get(issuer+".crl", got.Header.Get("ETag")); again.StatusCode != http.StatusNotModified {
		t.Errorf("a second time: %d", again.StatusCode)
	}
	for _, name := range []string{issuer, "x.crl", issuer + ".crl.crl", "%00.crl"} {
		if got := get(name, ""); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
	if got := get(w.ca.RootID()+".crl", ""); got.StatusCode != http.StatusOK {
		t.Errorf("the root's: %d", got.StatusCode)
	}
}
