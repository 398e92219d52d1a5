package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/sallyport-auth/sallyport/agent/link"
	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/gateway"
	"github.com/sallyport-auth/sallyport/service/localca"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/wire"
	"github.com/sallyport-auth/sallyport/wire/linkpb"
)

// world is an installation: one store, one CA, one tenant with a directory, and any number of gateways.
type world struct {
	t         testing.TB
	db        *db.DB
	box       *atrest.Box
	tenants   *tenant.Store
	ca        *ca.Authority
	fleet     *fleet.Store
	scope     tenant.Scope
	directory string
	local     *localca.CA
}

func newWorld(t testing.TB) *world {
	t.Helper()
	store := dbtest.New(t)
	box := fatal(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))(t)
	authority := fatal(ca.Open(t.Context(), store, box, ca.Config{}))(t)
	w := &world{t: t, db: store, box: box, tenants: tenant.NewStore(store), ca: authority, fleet: fleet.NewStore(store, authority)}
	corp := fatal(w.tenants.CreateTenant(t.Context(), tenant.NewTenant{Name: "corp", DisplayName: "Corp", Color: "#1a2b3c"}, time.Now()))(t)
	w.scope = corp.Scope()
	w.directory = fatal(w.tenants.CreateDirectory(t.Context(), w.scope, "ad", false, time.Now()))(t).ID
	w.local = fatal(localca.OpenOrCreate(filepath.Join(t.TempDir(), "localca")))(t)
	return w
}

// brief is the same authority, whose certificates last an hour.
func (w *world) brief() *ca.Authority {
	w.t.Helper()
	return fatal(ca.Open(w.t.Context(), w.db, w.box, ca.Config{Lifetime: time.Hour}))(w.t)
}

func fatal[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// broker starts one that listens, for several processes.
func broker(t testing.TB) string {
	t.Helper()
	s := fatal(server.NewServer(&server.Options{Host: "127.0.0.1", Port: -1, NoSigs: true, NoLog: true}))(t)
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		t.Fatal("broker not ready")
	}
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	return s.ClientURL()
}

func (w *world) queue(url string) *queue.Queue {
	w.t.Helper()
	q := fatal(queue.Open(queue.Config{URL: url}))(w.t)
	w.t.Cleanup(q.Close)
	return q
}

// door is one running gateway.
type door struct {
	*gateway.Gateway
	queue   *queue.Queue
	address string
	stop    func() error // ends it and waits
}

func (w *world) gateway(q *queue.Queue, change func(*gateway.Config)) *door {
	w.t.Helper()
	certificate := fatal(w.local.Server([]string{"127.0.0.1"}, time.Now()))(w.t)
	listener := fatal(net.Listen("tcp", "127.0.0.1:0"))(w.t)
	c := gateway.Config{Name: "gw.one", Fleet: w.fleet, CA: w.ca, Queue: q, Tenants: w.tenants, PublicAddress: listener.Addr().String(),
		TLS: &tls.Config{Certificates: []tls.Certificate{certificate}}, GatewayCA: []byte("PEM of the CA")}
	if change != nil {
		change(&c)
	}
	g := fatal(gateway.New(c))(w.t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Serve(ctx, listener) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() {
		if err := stop(); err != nil {
			w.t.Errorf("serve: %v", err)
		}
	})
	until(w.t, "the gateway to be ready", func() bool { return g.Ready() == nil })
	return &door{Gateway: g, queue: q, address: listener.Addr().String(), stop: stop}
}

// member is a registered agent.
type member struct {
	w           *world
	answer      wire.RegisterAnswer
	certificate tls.Certificate
	key         envelope.PrivateKey
	gateway     string
	counter     *atomic.Uint64 // nil: it does not count
}

func (m *member) Passport() link.Passport {
	p := link.Passport{Certificate: m.certificate, EnvelopeKeyID: m.key.Public().ID()}
	if m.counter != nil {
		p.Counter = m.counter.Add(1)
	}
	return p
}
func (m *member) Welcomed(link.Passport)                {}
func (m *member) Refused(link.Passport, wire.Code) bool { return false }
func (m *member) Gateway() string                       { return m.gateway }
func (m *member) GatewayRoots() *x509.CertPool          { return m.w.local.Pool() }

func request(t testing.TB, token, name string) (wire.RegisterRequest, *ecdsa.PrivateKey, envelope.PrivateKey) {
	t.Helper()
	key := fatal(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	csr := fatal(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(t)
	sealing := fatal(envelope.GenerateKey())(t)
	return wire.RegisterRequest{Token: token, Name: name, Host: "host-" + name, Instance: strings.ToLower(rand.Text()), OS: "linux", Version: "1.0",
		CSR:           string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})),
		EnvelopeSuite: int(sealing.Public().Suite()), EnvelopeKey: sealing.Public().Bytes()}, key, sealing
}

func post(h http.Handler, body any, change func(*http.Request)) *httptest.ResponseRecorder {
	b, _ := json.Marshal(body)
	if s, ok := body.(string); ok {
		b = []byte(s)
	}
	r := httptest.NewRequest(http.MethodPost, wire.RegisterPath, bytes.NewReader(b))
	r.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(r)
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	return recorder
}

// register makes a token and an agent through the HTTP door.
func (w *world) register(d *door, name string) *member {
	w.t.Helper()
	_, secret, err := w.fleet.CreateToken(w.t.Context(), w.scope, fleet.NewToken{DirectoryID: w.directory}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	r, key, sealing := request(w.t, secret, name)
	got := post(d.Register(), r, nil)
	if got.Code != http.StatusCreated {
		w.t.Fatalf("registration: %d %s", got.Code, got.Body)
	}
	answer := fatal(wire.DecodeRegisterAnswer(got.Body))(w.t)
	return &member{w: w, answer: answer, certificate: pair(w.t, answer.Certificate, key), key: sealing, gateway: d.address}
}

// issue signs a certificate for an agent without the fleet's knowledge.
func (w *world) issue(a *ca.Authority, agent string, key *ecdsa.PrivateKey, at time.Time) ca.Certificate {
	w.t.Helper()
	var c ca.Certificate
	if err := w.db.Write(w.t.Context(), func(tx db.Querier) (err error) {
		c, err = a.Issue(w.t.Context(), tx, w.scope, agent, key.Public(), at)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return c
}

func pair(t testing.TB, chain string, key *ecdsa.PrivateKey) tls.Certificate {
	t.Helper()
	c := tls.Certificate{PrivateKey: key}
	for rest := []byte(chain); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		c.Certificate = append(c.Certificate, block.Bytes)
	}
	if len(c.Certificate) == 0 {
		t.Fatal("no certificate in the answer")
	}
	return c
}

// nonce is one of the length that a fence must have.
var nonce = []byte("a nonce of 16 by")

type handlerFunc func(context.Context, *linkpb.Check, func(context.Context, []byte) ([]byte, error)) link.Reply

func (f handlerFunc) Check(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
	return f(ctx, c, fence)
}

// yes fences and answers "yes".
var yes = handlerFunc(func(ctx context.Context, c *linkpb.Check, fence func(context.Context, []byte) ([]byte, error)) link.Reply {
	token, err := fence(ctx, nonce)
	if err != nil || string(token) != "go "+c.GetRequestId() {
		return link.Reply{Refused: wire.AgentRefused, Detail: fmt.Sprint("no go: ", err)}
	}
	return link.Reply{Sealed: append([]byte("yes "), c.GetEnvelope()...)}
})

// attached is a running link.
type attached struct {
	*link.Link
	member *member
	stop   func() error
}

// dial starts a link without waiting for it to be attached.
func (w *world) dial(m *member, slots int, h link.Handler) *attached {
	w.t.Helper()
	l := fatal(link.New(link.Config{Identity: m, Handler: h, Version: "1.0", Host: "h", OS: "linux", Slots: slots}))(w.t)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- l.Run(ctx) }()
	stop := sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() { _ = stop() })
	return &attached{l, m, stop}
}

func (w *world) attach(m *member, slots int, h link.Handler) *attached {
	w.t.Helper()
	a := w.dial(m, slots, h)
	until(w.t, "attached", func() bool { return a.Status().State == link.Attached })
	return a
}

// until polls a condition.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 4000 {
		if ok() {
			return
		}
		<-time.After(5 * time.Millisecond) // until the next look
	}
	t.Fatalf("never happened: %s", what)
}

// result is the end of a check as package password would see it.
type result struct {
	offer   queue.Offer
	outcome queue.Outcome
	fenced  bool
	err     error
}

// check does what package password does, without sealing.
func (w *world) check(ctx context.Context, q *queue.Queue, requestID string, exclude ...string) result {
	offer, err := q.Ask(ctx, w.scope, w.directory, queue.Ask{Request: requestID, Exclude: exclude})
	if err != nil {
		return result{err: err}
	}
	return w.deliver(ctx, q, offer, requestID)
}

func (w *world) deliver(ctx context.Context, q *queue.Queue, offer queue.Offer, requestID string) result {
	o, fenced, err := q.Deliver(ctx, w.scope, offer.Gateway, queue.Delivery{Request: requestID, Directory: w.directory, Agent: offer.Agent,
		Slot: offer.Slot, Envelope: []byte("sealed")}, func([]byte) []byte { return []byte("go " + requestID) })
	return result{offer, o, fenced, err}
}

func (r result) String() string {
	return fmt.Sprintf("offer %+v, sealed %q, refused %d, lost %v (%s), fenced %v, err %v", r.offer, r.outcome.Sealed, r.outcome.Refused,
		r.outcome.Lost, r.outcome.Detail, r.fenced, r.err)
}
