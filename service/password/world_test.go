package password

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/lockout"
	"github.com/sallyport-auth/sallyport/service/password/passwordtest"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

const (
	name  = "ada@corp.example"
	right = "Tr0ub4dor&3-canary"
	wrong = "not-the-password-canary"
	home  = "192.0.2.1"    // where attempts come from
	here  = "192.0.2.1/32" // its network
)

// world is a store with two tenants of equal names and domains, their directories and agents, and a Checker over it. Only the
// queue with what is behind it is a stand-in.
type world struct {
	*Checker
	store   *db.DB
	tenants *tenant.Store
	users   *user.Store
	fleet   *fleet.Store
	guard   *lockout.Guard
	queue   *passwordtest.Queue
	log     *logBuffer

	a, b       tenant.Scope
	dirA, dirB string
	ad         *passwordtest.Directory // behind a's agents
}

// logBuffer is a log that a test can search.
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

func newWorld(t *testing.T) *world {
	t.Helper()
	ctx, now := context.Background(), time.Now()
	w := &world{store: dbtest.New(t), queue: &passwordtest.Queue{}, log: &logBuffer{}}
	box, err := atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	authority, err := ca.Open(ctx, w.store, box, ca.Config{})
	if err != nil {
		t.Fatal(err)
	}
	w.tenants, w.users, w.fleet = tenant.NewStore(w.store), user.NewStore(w.store), fleet.NewStore(w.store, authority)
	w.guard = lockout.New(w.store, lockout.Policy{Threshold: 10})
	w.Checker = New(Config{Tenants: w.tenants, Users: w.users, Fleet: w.fleet, Lockout: w.guard, Queue: w.queue,
		Logger: slog.New(slog.NewJSONHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	for _, x := range []struct {
		name  string
		scope *tenant.Scope
		dir   *string
	}{{"tenant-a", &w.a, &w.dirA}, {"tenant-b", &w.b, &w.dirB}} {
		made, err := w.tenants.CreateTenant(ctx, tenant.NewTenant{Name: x.name, DisplayName: x.name, Color: "#204060"}, now)
		if err != nil {
			t.Fatal(err)
		}
		*x.scope = made.Scope()
		d, err := w.tenants.CreateDirectory(ctx, *x.scope, "corp", false, now)
		if err != nil {
			t.Fatal(err)
		}
		*x.dir = d.ID
		w.domain(t, *x.scope, tenant.Domain{Name: "corp.example", Kind: tenant.PassThrough, DirectoryID: d.ID, AdmitUsers: true})
		w.domain(t, *x.scope, tenant.Domain{Name: "cloud.example", Kind: tenant.Cloud})
	}
	w.ad = &passwordtest.Directory{
		Passwords:  map[string]string{name: right},
		Attributes: map[string]wire.Attributes{name: ada()},
		Verdicts:   map[string]wire.Verdict{},
	}
	return w
}

func ada() wire.Attributes {
	return wire.Attributes{Anchor: "6f1de3f5-3f3b-4a47-9f5b-0b6a3a1c2d4e", UPN: name, DisplayName: "Ada Lovelace", Groups: []string{"Analysts"}}
}

func (w *world) domain(t *testing.T, scope tenant.Scope, d tenant.Domain) {
	t.Helper()
	if _, err := w.tenants.CreateDomain(context.Background(), scope, d, time.Now()); err != nil {
		t.Fatal(err)
	}
}

// agent enrols an agent and attaches it to the queue.
func (w *world) agent(t *testing.T, scope tenant.Scope, directory string, behave passwordtest.Behaviour) fleet.Agent {
	t.Helper()
	a, key := w.enrol(t, scope, directory)
	w.queue.Attach(scope, directory, a.ID, key, behave)
	return a
}

func (w *world) enrol(t *testing.T, scope tenant.Scope, directory string) (fleet.Agent, envelope.PrivateKey) {
	t.Helper()
	return w.enrolOn(t, scope, directory, "agent")
}

// enrolOn enrols an agent that says it runs on a host.
func (w *world) enrolOn(t *testing.T, scope tenant.Scope, directory, host string) (fleet.Agent, envelope.PrivateKey) {
	t.Helper()
	ctx := context.Background()
	_, secret, err := w.fleet.CreateToken(ctx, scope, fleet.NewToken{DirectoryID: directory}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	tlsKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, tlsKey)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		t.Fatal(err)
	}
	key, err := envelope.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	_, a, _, err := w.fleet.Enrol(ctx, secret, fleet.Enrolment{Name: host, Host: host, Instance: strings.ToLower(rand.Text()), CSR: csr, EnvelopeSuite: key.Public().Suite(), EnvelopeKey: key.Public().Bytes()}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return a, key
}

// check checks one password and holds what must be true of every check: the secret is wiped, nothing broke the protocol, and the
// password is in no log and no error.
func (w *world) check(t *testing.T, scope tenant.Scope, typed, password string) (Answer, error) {
	t.Helper()
	return w.checkWith(t, context.Background(), scope, typed, password)
}

func (w *world) checkWith(t *testing.T, ctx context.Context, scope tenant.Scope, typed, password string) (Answer, error) {
	t.Helper()
	return w.checkFrom(t, ctx, scope, home, typed, password)
}

func (w *world) checkFrom(t *testing.T, ctx context.Context, scope tenant.Scope, address, typed, password string) (Answer, error) {
	t.Helper()
	raw := []byte(password)
	answer, err := w.Check(ctx, scope, Attempt{Name: typed, Password: wire.NewSecret(raw), Address: address, Trace: "00-1-2-01", Request: "journey-1"})
	for _, b := range raw {
		if b != 0 {
			t.Error("the secret was not wiped")
			break
		}
	}
	if broken := w.queue.Broken(); len(broken) > 0 {
		t.Errorf("the protocol was broken: %v", broken)
	}
	if len(password) > 5 {
		said := w.log.String() + answer.Diagnostic
		if err != nil {
			said += err.Error()
		}
		if bytes.Contains([]byte(said), []byte(password)) {
			t.Error("the password stands in a log, a diagnostic or an error")
		}
	}
	if answer.Right != (answer.User.ID != "") || answer.Right != (answer.Code == 0 && err == nil && !scope.Zero()) {
		t.Errorf("right %v, user %q, code %v, error %v", answer.Right, answer.User.ID, answer.Code, err)
	}
	return answer, err
}

// must is check where nobody may fail to judge.
func (w *world) must(t *testing.T, scope tenant.Scope, typed, password string) Answer {
	t.Helper()
	a, err := w.check(t, scope, typed, password)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// failures is the number of wrong passwords that lockout knows of an account.
func (w *world) failures(t *testing.T, scope tenant.Scope, account string) int {
	t.Helper()
	s, err := w.guard.State(context.Background(), scope, account)
	if err != nil {
		t.Fatal(err)
	}
	return s.Failures
}

func wantFault(t *testing.T, what string, err error, code wire.Code) {
	t.Helper()
	if got := fault.CodeOf(err); got != code {
		t.Errorf("%s: %v (%v), want %v", what, got, err, code)
	}
}

// wantShown holds an answer to its true number and to what the person may see.
func wantShown(t *testing.T, what string, a Answer, code, shown wire.Code) {
	t.Helper()
	if a.Right || a.Code != code || a.Shown != shown {
		t.Errorf("%s: right %v, code %v, shown %v; want %v shown as %v", what, a.Right, a.Code, a.Shown, code, shown)
	}
}
