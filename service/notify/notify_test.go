package notify

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/wire"
)

type world struct {
	t       *testing.T
	db      *db.DB
	tenants *tenant.Store
	acme    tenant.Tenant
	log     bytes.Buffer
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: dbtest.New(t)}
	w.tenants, w.acme = tenant.NewStore(w.db), tenanttest.New(t, w.db, "acme")
	return w
}

func (w *world) notifier(hook *Webhook, m *Mail) *Notifier {
	return New(Config{DB: w.db, Tenants: w.tenants, PublicURL: "https://login.example", Webhook: hook, Mail: m,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil))})
}

func (w *world) put(e Event, at time.Time) {
	w.t.Helper()
	if err := w.db.Write(w.t.Context(), func(tx db.Querier) error { return Put(w.t.Context(), tx, w.acme.Scope(), e, at) }); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) look(n *Notifier) {
	w.t.Helper()
	if err := n.look(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) waiting() (n int) {
	w.t.Helper()
	if err := w.db.Reader().QueryRowContext(w.t.Context(), `SELECT count(*) FROM notification`).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

// due makes everything in the outbox due, as if the time had come.
func (w *world) due() {
	w.t.Helper()
	if err := w.db.Write(w.t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(w.t.Context(), `UPDATE notification SET next_at = 0`)
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
}

// receiver is a webhook's other end.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status int
	got    []Message
	proofs []bool
}

func newReceiver(t *testing.T, secret string) *receiver {
	r := &receiver{status: http.StatusNoContent}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		var m Message
		err := json.Unmarshal(body, &m)
		stamp, _, _ := strings.Cut(strings.TrimPrefix(q.Header.Get(SignatureHeader), "t="), ",")
		at, _ := strconv.ParseInt(stamp, 10, 64)
		r.mu.Lock()
		defer r.mu.Unlock()
		r.got, r.proofs = append(r.got, m), append(r.proofs, err == nil && q.Header.Get(SignatureHeader) == Sign([]byte(secret), body, time.Unix(at, 0)))
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(r.status)
	}))
	t.Cleanup(r.Close)
	return r
}

const secret = "a secret of the receiver"

func TestWebhook(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, secret)
	n := w.notifier(NewWebhook(r.URL, []byte(secret), nil), nil)
	w.put(Event{Kind: AgentRegistered, Agent: "id", Name: "dc1", Host: "dc1\r\nX: y", State: "pending", By: strings.Repeat("ä", 2*maxText)}, time.Now())
	w.look(n)
	if len(r.got) != 1 || !r.proofs[0] {
		t.Fatalf("%+v, %v", r.got, r.proofs)
	}
	m := r.got[0]
	if m.Name != "dc1" || m.Host != "dc1  X: y" || m.TenantName != "acme" || m.ID == "" || m.Page != "https://login.example/t/acme/register/agent/id" ||
		len(m.By) != 2*maxText {
		t.Errorf("%+v", m)
	}
	if w.waiting() != 0 || !strings.Contains(w.log.String(), "msg=notification ") {
		t.Errorf("%d wait; log: %s", w.waiting(), w.log.String())
	}
}

// TestFailuresAreTriedAgain: a channel that took the event is not bothered again, one that did not is, and a process that died in between
// loses nothing.
func TestFailuresAreTriedAgain(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, secret)
	n := w.notifier(NewWebhook(r.URL, []byte(secret), nil), nil)
	w.put(Event{Kind: AgentApproved, Name: "dc1"}, time.Now())
	for i, status := range []int{http.StatusInternalServerError, http.StatusSeeOther} {
		r.status = status
		w.look(n)
		if len(r.got) != i+1 || w.waiting() != 1 {
			t.Fatalf("%d: %d deliveries, %d wait", status, len(r.got), w.waiting())
		}
		w.look(n) // not due
		w.due()
	}
	if got := w.log.String(); strings.Count(got, "msg=notification ") != 1 || strings.Count(got, "code="+wire.Undelivered.String()) != 2 {
		t.Errorf("log: %s", got)
	}
	if v := testutil.ToFloat64(n.undelivered); v != 1 {
		t.Errorf("the gauge says %v", v)
	}

	// A process claims the event and dies; another one leaves it alone for the lease, and delivers it after.
	rows, err := n.due(t.Context(), time.Now())
	if err != nil || len(rows) != 1 {
		t.Fatal(rows, err)
	}
	if mine, err := n.claim(t.Context(), rows[0], time.Now()); err != nil || !mine {
		t.Fatal(mine, err)
	}
	if mine, err := n.claim(t.Context(), rows[0], time.Now()); err != nil || mine {
		t.Fatal("claimed twice", err)
	}
	r.status = http.StatusOK
	another := w.notifier(NewWebhook(r.URL, []byte(secret), nil), nil)
	w.look(another)
	if len(r.got) != 2 {
		t.Error("delivered while somebody else has it")
	}
	w.due() // the lease is over
	w.look(another)
	if len(r.got) != 3 || w.waiting() != 0 || r.got[0].ID != r.got[2].ID {
		t.Errorf("%+v, %d wait", r.got, w.waiting())
	}
	if v := testutil.ToFloat64(another.undelivered); v != 0 {
		t.Errorf("the gauge says %v", v)
	}
}

func TestNext(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		failed  bool
		tries   int
		age     time.Duration
		pause   time.Duration
		givenUp bool
	}{
		"taken": {}, "first failure": {true, 0, 0, firstPause, false}, "third": {true, 2, 0, 4 * firstPause, false}, "many": {true, 12, 0, longestPause, false},
		"very many": {true, 1 << 20, 0, longestPause, false}, "old": {true, 80, keep, 0, true},
	} {
		again, givenUp := next(test.failed, test.tries, now.Add(-test.age), now)
		if givenUp != test.givenUp || test.pause == 0 && !again.IsZero() || test.pause > 0 && again != now.Add(test.pause) {
			t.Errorf("%s: %v, %v", name, again.Sub(now), givenUp)
		}
	}
}

func TestGivenUp(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, secret)
	r.status = http.StatusBadGateway
	n := w.notifier(NewWebhook(r.URL, []byte(secret), nil), nil)
	w.put(Event{Kind: AgentDenied}, time.Now().Add(-keep))
	w.look(n)
	if w.waiting() != 0 || testutil.ToFloat64(n.deliveries.WithLabelValues("webhook", "given-up")) != 1 || !strings.Contains(w.log.String(), "given up") {
		t.Errorf("%d wait; log: %s", w.waiting(), w.log.String())
	}
}

func TestOutboxIsBoundedAndScoped(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	if err := w.db.Write(ctx, func(tx db.Querier) error {
		for range maxWaiting + 5 {
			if err := Put(ctx, tx, w.acme.Scope(), Event{Kind: AgentRegistered}, time.Now()); err != nil {
				return err
			}
		}
		return nil
	}); err != nil || w.waiting() != maxWaiting {
		t.Errorf("%d wait, %v", w.waiting(), err)
	}
	if err := w.db.Write(ctx, func(tx db.Querier) error { return Put(ctx, tx, tenant.Scope{}, Event{}, time.Now()) }); !errors.Is(err, tenant.ErrNoScope) {
		t.Errorf("without scope: %v", err)
	}
	broken := errors.New("the change failed")
	before := w.waiting()
	err := w.db.Write(ctx, func(tx db.Querier) error {
		if err := Put(ctx, tx, w.acme.Scope(), Event{}, time.Now()); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) || w.waiting() != before {
		t.Errorf("a change that failed is told of: %v", err)
	}
}

// post is a small mail server; certificate nil: it offers no STARTTLS.
type post struct {
	net.Listener
	certificate *tls.Certificate
	refuse      string // a recipient that it does not take

	mu    sync.Mutex
	to    []string
	mails []string
	safe  bool // the last mail came over TLS
	login string
}

func newPost(t *testing.T, certificate *tls.Certificate) *post {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &post{Listener: l, certificate: certificate}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { p.serve(conn) })
		}
	})
	return p
}

func (p *post) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in, secure := bufio.NewReader(conn), false
	say := func(s string) { _, _ = io.WriteString(conn, s+"\r\n") }
	say("220 post")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimSpace(line)
		verb, rest, _ := strings.Cut(line, " ")
		p.mu.Lock()
		switch strings.ToUpper(verb) {
		case "EHLO":
			if p.certificate != nil && !secure {
				say("250-post\r\n250 STARTTLS")
			} else {
				say("250-post\r\n250 AUTH PLAIN")
			}
		case "STARTTLS":
			say("220 go on")
			s := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{*p.certificate}})
			conn, in, secure = s, bufio.NewReader(s), true
		case "AUTH":
			p.login = rest
			say("235 welcome")
		case "MAIL":
			p.to = nil
			say("250 ok")
		case "RCPT":
			if p.refuse != "" && strings.Contains(rest, p.refuse) {
				say("550 nobody")
				break
			}
			p.to = append(p.to, rest)
			say("250 ok")
		case "DATA":
			say("354 write")
			var b strings.Builder
			for {
				l, err := in.ReadString('\n')
				if err != nil || l == ".\r\n" {
					break
				}
				b.WriteString(l)
			}
			p.mails, p.safe = append(p.mails, b.String()), secure
			say("250 taken")
		case "QUIT":
			say("221 bye")
			p.mu.Unlock()
			return
		default:
			say("500 what")
		}
		p.mu.Unlock()
	}
}

func TestMail(t *testing.T) {
	w := newWorld(t)
	p := newPost(t, nil)
	p.refuse = "gone@"
	m := &Mail{Address: p.Addr().String(), From: "sallyport@corp.example", To: []string{"ops@corp.example", "gone@corp.example"},
		Username: "robot", Password: wire.NewSecret([]byte("pw")),
		Administrators: func(_ context.Context, s tenant.Scope) ([]string, error) {
			if s != w.acme.Scope() {
				t.Errorf("asked for %s", s)
			}
			return []string{"ada@corp.example", "OPS@corp.example", "no address", "a@b.example>\r\nRCPT TO:<evil@example"}, nil
		}}
	n := w.notifier(nil, m)
	w.put(Event{Kind: AgentRegistered, Agent: "id", Name: "dc1", Host: "dc1\r\n.\r\nBcc: evil@example", State: "pending", Fingerprint: "3f2a 91bc"}, time.Now())
	w.look(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.mails) != 1 || !slices.Equal(p.to, []string{"TO:<ops@corp.example>", "TO:<ada@corp.example>"}) || p.login == "" {
		t.Fatalf("%q to %q, login %q, log %s", p.mails, p.to, p.login, w.log.String())
	}
	got, err := mail.ReadMessage(strings.NewReader(p.mails[0]))
	if err != nil {
		t.Fatal(err)
	}
	title, err := new(mime.WordDecoder).DecodeHeader(got.Header.Get("Subject"))
	if err != nil || title != "Sallyport acme: an agent registered and waits for an approval: dc1" || got.Header.Get("Bcc") != "" {
		t.Errorf("%q, %v, %v", title, err, got.Header)
	}
	body, err := io.ReadAll(quotedprintable.NewReader(got.Body))
	for _, want := range []string{"3f2a 91bc", "https://login.example/t/acme/register/agent/id", "agent revoke id"} {
		if err != nil || !strings.Contains(string(body), want) {
			t.Errorf("the mail lacks %q: %s, %v", want, body, err)
		}
	}
}

// TestMailIsNotSentInTheOpen: with a CA, or to another machine, TLS is wanted and verified.
func TestMailIsNotSentInTheOpen(t *testing.T) {
	w := newWorld(t)
	ours := httptest.NewTLSServer(nil)
	defer ours.Close()
	roots := x509.NewCertPool()
	roots.AddCert(ours.Certificate())
	msg := Message{ID: "1", Event: Event{Kind: AgentDenied}}
	for name, test := range map[string]struct {
		offered *tls.Certificate
		roots   *x509.CertPool
		want    string
	}{
		"with TLS":         {&ours.TLS.Certificates[0], roots, ""},
		"no STARTTLS":      {nil, roots, "offers no STARTTLS"},
		"a stranger's":     {&ours.TLS.Certificates[0], x509.NewCertPool(), "STARTTLS: tls"},
		"on this machine":  {nil, nil, ""},
		"offered, no CA":   {&ours.TLS.Certificates[0], nil, ""}, // a local server's own certificate cannot be judged
		"nobody to write":  {nil, nil, ""},
		"recipient unkown": {nil, nil, "takes no recipient"},
	} {
		p := newPost(t, test.offered)
		m := &Mail{Address: p.Addr().String(), From: "sallyport@corp.example", To: []string{"ops@corp.example"}, Roots: test.roots}
		switch name {
		case "nobody to write":
			m.To = nil
		case "recipient unkown":
			p.refuse = "ops@"
		}
		err := m.deliver(t.Context(), w.acme.Scope(), msg)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v", name, err)
		}
		p.mu.Lock()
		if name == "with TLS" && !p.safe || test.want != "" && len(p.mails) > 0 || name == "nobody to write" && len(p.mails) > 0 {
			t.Errorf("%s: safe %v, mails %q", name, p.safe, p.mails)
		}
		p.mu.Unlock()
	}
}

// TestRunEnds: the loop looks, waits and ends with its context.
func TestRunEnds(t *testing.T) {
	w := newWorld(t)
	n := w.notifier(nil, nil)
	w.put(Event{Kind: AgentApproved}, time.Now())
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- n.Run(ctx) }()
	for w.waiting() > 0 {
		<-time.After(time.Millisecond) // until the next look at the outbox
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// FuzzMail: no event brings a line of its own into a mail's head.
func FuzzMail(f *testing.F) {
	f.Add("dc1", "acme\r\nBcc: x@y")
	f.Add("\u2028.\r\n", "ä")
	f.Fuzz(func(t *testing.T, name, tenantName string) {
		m := &Mail{From: "sallyport@corp.example"}
		raw := m.compose(Message{ID: "1", TenantName: clean(tenantName), Event: Event{Kind: AgentRegistered, Name: clean(name), State: "pending"}}, []string{"a@b.example"})
		got, err := mail.ReadMessage(bytes.NewReader(raw))
		if err != nil || len(got.Header) != 9 {
			t.Fatalf("%v: %q", err, raw)
		}
	})
}

// TestWebhookErrorsHideTheAddress: it may hold a secret, and errors are logged.
func TestWebhookErrorsHideTheAddress(t *testing.T) {
	r := httptest.NewServer(nil)
	r.Close()
	err := NewWebhook(r.URL+"/services/T0P-SECRET", []byte("0123456789abcdef"), nil).deliver(t.Context(), tenant.Scope{}, Message{})
	if err == nil || strings.Contains(err.Error(), "T0P-SECRET") {
		t.Error(err)
	}
}

// counted is a channel that counts, and does what it is told.
type counted struct {
	called string
	calls  int
	do     func(context.Context) error
}

func (c *counted) name() string { return c.called }
func (c *counted) deliver(ctx context.Context, _ tenant.Scope, _ Message) error {
	c.calls++
	return c.do(ctx)
}

// TestOneThatHangsHoldsUpNobody: a channel whose time ran out is left alone for the rest of the look, and what the others were given is written
// down; the next look asks it again.
func TestOneThatHangsHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	n := w.notifier(nil, nil)
	ctx, cancel := context.WithCancel(t.Context())
	hangs := &counted{called: "webhook", do: func(ctx context.Context) error { cancel(); <-ctx.Done(); return ctx.Err() }}
	works := &counted{called: "mail", do: func(context.Context) error { return nil }}
	n.channels = []channel{hangs, works}
	silent := map[string]bool{}
	rows := []row{{id: "1", scope: w.acme.Scope()}, {id: "2", scope: w.acme.Scope()}}
	if err := n.deliver(ctx, &rows[0], silent); err != nil {
		t.Fatal(err)
	}
	if err := n.deliver(t.Context(), &rows[1], silent); err != nil {
		t.Fatal(err)
	}
	if hangs.calls != 1 || works.calls != 2 {
		t.Errorf("asked %d and %d times", hangs.calls, works.calls)
	}
	if !slices.Equal(rows[1].failures, []string{"webhook"}) || !slices.Equal(rows[1].done, []string{"mail"}) {
		t.Errorf("%+v", rows[1])
	}
	hangs.do = func(context.Context) error { return nil }
	if err := n.deliver(t.Context(), &rows[1], map[string]bool{}); err != nil || hangs.calls != 2 || works.calls != 2 {
		t.Errorf("%v: asked %d and %d times", err, hangs.calls, works.calls)
	}
}

// TestUnreadableEvent: a row that was damaged is told and put off; those after it are delivered.
func TestUnreadableEvent(t *testing.T) {
	w := newWorld(t)
	w.put(Event{Kind: AgentRegistered, Name: "damaged"}, time.Now().Add(-time.Minute))
	if err := w.db.Write(t.Context(), func(tx db.Querier) error {
		_, err := tx.ExecContext(t.Context(), `UPDATE notification SET event = '{'`)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	w.put(Event{Kind: AgentRegistered, Name: "whole"}, time.Now())
	w.look(w.notifier(nil, nil))
	if w.waiting() != 1 || !strings.Contains(w.log.String(), "whole") || !strings.Contains(w.log.String(), wire.Undelivered.String()) {
		t.Errorf("%d wait: %s", w.waiting(), w.log.String())
	}
}
