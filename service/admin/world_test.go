package admin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/canary"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/queue"
	"github.com/sallyport-auth/sallyport/service/reglog"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// world is the API over a real store and queue, with two tenants that have the same names in them.
type world struct {
	t   testing.TB
	cfg Config
	log *logBuffer
	api *API
	doc document
	all http.Handler // as the service serves it
	// Tokens: of the installation, of each tenant.
	root, contoso, fabrikam string
	scope                   tenant.Scope // contoso's
	attached                []string
	changes                 chan queue.Change
}

type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB) *world { return newWorldOn(t, dbtest.New(t)) }

func newWorldOn(t testing.TB, store *db.DB) *world {
	t.Helper()
	w := &world{t: t, doc: readDocument(t), log: &logBuffer{}, changes: make(chan queue.Change, 100)}
	box := must(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))(t)
	authority := must(ca.Open(t.Context(), store, box, ca.Config{}))(t)
	q := must(queue.Open(queue.Config{}))(t)
	t.Cleanup(q.Close)
	stop := must(q.OnChange(func(c queue.Change) { w.changes <- c }))(t)
	t.Cleanup(stop)
	w.cfg = Config{DB: store, Box: box, Tenants: tenant.NewStore(store), Users: user.NewStore(store), Apps: app.NewStore(store), Fleet: fleet.NewStore(store, authority), Canaries: canary.NewStore(store, box, tenant.NewStore(store), fleet.NewStore(store, authority)),
		Keys: keyring.New(store, box, nil), Lockout: lockout.New(store, lockout.Policy{}), Audit: audit.NewLog(store, nil), Queue: q,
		Attached: func(s tenant.Scope) []string {
			if s != w.scope {
				return nil
			}
			return w.attached
		},
		PublicURL: "https://login.example.com", Logger: slog.New(slog.NewTextHandler(w.log, nil))}
	w.cfg.Log = reglog.New(store, box, authority.TrustDomain())
	w.cfg.Tenants.Log, w.cfg.Fleet.Log = w.cfg.Log, w.cfg.Log
	logRun, stopLog := context.WithCancel(context.Background())
	logged := make(chan struct{})
	go func() { defer close(logged); _ = w.cfg.Audit.Run(logRun) }()
	t.Cleanup(func() { stopLog(); <-logged })
	w.api = New(w.cfg)
	w.all = web.Chain(w.api.Routes(), web.Trace, web.Client(nil), web.Recover(w.cfg.Logger), web.Secure)
	w.root = must(CreateToken(t.Context(), store, NewToken{Note: "root"}, time.Now()))(t).Secret
	for _, name := range []string{"contoso", "fabrikam"} {
		w.want(http.StatusCreated, w.root, "POST", "/tenants", `{"name":"`+name+`"}`)
		x := must(w.cfg.Tenants.TenantByName(t.Context(), name))(t)
		secret := must(CreateToken(t.Context(), store, NewToken{Tenant: x.Scope()}, time.Now()))(t).Secret
		if name == "contoso" {
			w.contoso, w.scope = secret, x.Scope()
		} else {
			w.fabrikam = secret
		}
		below := "/tenants/" + name
		w.want(http.StatusCreated, secret, "POST", below+"/directories", `{"name":"corp"}`)
		w.want(http.StatusCreated, secret, "POST", below+"/domains", `{"name":"corp.example","directory":"corp"}`)
		w.want(http.StatusCreated, secret, "POST", below+"/domains", `{"name":"cloud.example","kind":"cloud"}`)
		w.want(http.StatusCreated, secret, "POST", below+"/users", `{"upn":"ada@cloud.example"}`)
		w.want(http.StatusCreated, secret, "POST", below+"/apps", `{"name":"Wiki","redirect_uris":["https://wiki.example/cb"]}`)
	}
	return w
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// answer is what came back.
type answer struct {
	status  int
	header  http.Header
	body    string
	problem wire.Problem // when it was one
}

// askOnce sends a request with an idempotency key.
func (w *world) askOnce(key, token, method, path, body string) answer {
	w.t.Helper()
	return w.askWith(http.Header{keyHeader: {key}}, token, method, path, body)
}

// ask sends a request; an empty token sends none. Every request and answer is held to the API's description.
func (w *world) ask(token, method, path, body string) answer {
	w.t.Helper()
	return w.askWith(nil, token, method, path, body)
}

func (w *world) askWith(header http.Header, token, method, path, body string) answer {
	w.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "https://login.example.com/admin/v1"+path, in)
	maps.Copy(r.Header, header)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	rec := httptest.NewRecorder()
	w.all.ServeHTTP(rec, r)
	a := answer{status: rec.Code, header: rec.Header(), body: rec.Body.String()}
	if strings.HasPrefix(rec.Header().Get("Content-Type"), wire.ProblemType) {
		if err := json.Unmarshal(rec.Body.Bytes(), &a.problem); err != nil {
			w.t.Fatalf("%s %s: the problem document: %v", method, path, err)
		}
		if a.problem.Status != rec.Code || a.problem.Code == 0 || a.problem.Title == "" || a.problem.Remedy == "" || len(a.problem.Trace) != 32 {
			w.t.Errorf("%s %s: the problem document lacks something: %s", method, path, a.body)
		}
	} else if rec.Code >= 400 {
		w.t.Errorf("%s %s: %d without a problem document: %q", method, path, rec.Code, a.body)
	}
	w.doc.hold(w.t, r, body, a)
	return a
}

// want sends a request and wants a status.
func (w *world) want(status int, token, method, path, body string) answer {
	w.t.Helper()
	a := w.ask(token, method, path, body)
	if a.status != status {
		w.t.Fatalf("%s %s %s: %d, not %d: %s", method, path, body, a.status, status, a.body)
	}
	return a
}

// read decodes an answer.
func read[T any](t testing.TB, a answer) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return v
}

// enrol lets an agent join contoso's directory.
func (w *world) enrol(name string) fleet.Agent {
	w.t.Helper()
	token := read[AgentToken](w.t, w.want(http.StatusCreated, w.contoso, "POST", "/tenants/contoso/agent-tokens", `{"directory":"corp"}`))
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.t)
	csr := must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(w.t)))(w.t)
	private := must(envelope.GenerateKey())(w.t)
	public := private.Public()
	scope, a, _, err := w.cfg.Fleet.Enrol(w.t.Context(), token.Secret, fleet.Enrolment{Name: name, CSR: csr, EnvelopeSuite: public.Suite(),
		EnvelopeKey: public.Bytes()}, time.Now())
	if err != nil || scope != w.scope {
		w.t.Fatalf("%v, %v", scope, err)
	}
	return a
}

// announced waits for the next change on the queue.
func (w *world) announced() queue.Change {
	w.t.Helper()
	select {
	case c := <-w.changes:
		return c
	case <-time.After(30 * time.Second):
		w.t.Fatal("no change was announced")
		return queue.Change{}
	}
}
