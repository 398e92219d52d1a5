package approve

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/envelope"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/ca"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/fleet"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/tenant/tenanttest"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// knows stands in for package password: everybody's password is their name.
type knows struct{ users *user.Store }

func (k knows) Check(ctx context.Context, s tenant.Scope, a password.Attempt) (password.Answer, error) {
	typed := string(a.Password.Reveal())
	u, err := k.users.ByUPN(ctx, s, a.Name)
	if err != nil || typed != a.Name {
		return password.Answer{Code: wire.InvalidPassword, Shown: wire.InvalidPassword}, nil
	}
	return password.Answer{Right: true, User: u, Methods: []string{"pwd"}}, nil
}

type noLog struct{}

func (noLog) Record(context.Context, tenant.Scope, audit.SignIn) error { return nil }

type world struct {
	t         *testing.T
	db        *db.DB
	fleet     *fleet.Store
	tenants   *tenant.Store
	acme      tenant.Tenant
	directory string
	door      *Door
	server    *httptest.Server

	mu     sync.Mutex
	offset time.Duration // of the door's clock
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, db: dbtest.New(t)}
	authority := must(ca.Open(t.Context(), w.db, must(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))(t), ca.Config{TrustDomain: "corp.example"}))(t)
	w.fleet, w.tenants = fleet.NewStore(w.db, authority), tenant.NewStore(w.db)
	users := user.NewStore(w.db)
	w.acme = tenanttest.New(t, w.db, "acme")
	tenanttest.New(t, w.db, "other")
	w.directory = tenanttest.Directory(t, w.db, w.acme.Scope(), "corp").ID
	for _, name := range []string{"acme", "other"} {
		x := must(w.tenants.TenantByName(t.Context(), name))(t)
		for upn, role := range map[string]user.Role{"ada": user.Administrator, "ben": user.Administrator, "carl": ""} {
			must(users.Create(t.Context(), x.Scope(), user.User{UPN: upn + "@" + name + ".example", Source: user.CloudOnly, Role: role}, time.Now()))(t)
		}
	}
	pages := signin.New(signin.Config{DB: w.db, Tenants: w.tenants, Users: users, Password: knows{users}, Audit: noLog{}})
	w.door = New(Config{Signin: pages, Tenants: w.tenants, Fleet: w.fleet})
	w.door.now = func() time.Time {
		w.mu.Lock()
		defer w.mu.Unlock()
		return time.Now().Add(w.offset)
	}
	mux := http.NewServeMux()
	mux.Handle("/t/{tenant}/signin/", pages.Routes())
	mux.Handle("/t/{tenant}/register", w.door.Routes())
	mux.Handle("/t/{tenant}/register/", w.door.Routes())
	w.server = httptest.NewTLSServer(mux)
	t.Cleanup(w.server.Close)
	return w
}

// code asks for a code as a host does.
func (w *world) code(host string) fleet.NewCode {
	w.t.Helper()
	return must(w.fleet.AskCode(w.t.Context(), w.acme.Scope(), w.enrolment(host), "", time.Now()))(w.t)
}

// enrolment is of a host with fresh keys.
func (w *world) enrolment(host string) fleet.Enrolment {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(w.t)
	csr := must(x509.ParseCertificateRequest(must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key))(w.t)))(w.t)
	public := must(envelope.GenerateKey())(w.t).Public()
	return fleet.Enrolment{Name: host, Host: host, OS: "linux/amd64", Version: "1.0", Address: "192.0.2.9", CSR: csr, EnvelopeSuite: public.Suite(),
		EnvelopeKey: public.Bytes()}
}

// browser is one person at a browser.
type browser struct {
	w      *world
	client *http.Client
	name   string
}

func (w *world) browser(name string) *browser {
	jar := must(cookiejar.New(nil))(w.t)
	return &browser{w, &http.Client{Jar: jar, Transport: w.server.Client().Transport}, name}
}

var (
	action  = regexp.MustCompile(`<form method="post" action="([^"]+)"`)
	refresh = regexp.MustCompile(`url=(.*)`)
)

// get fetches a page of ours, and signs in on the way when asked to.
func (b *browser) get(path string) (status int, page string) {
	b.w.t.Helper()
	status, page, at := b.do(http.MethodGet, path, nil, "")
	for range 5 {
		m := action.FindStringSubmatch(page)
		switch {
		case m == nil || !strings.Contains(at, "/signin/"):
			return status, page
		case strings.HasSuffix(m[1], "/password"):
			attempt := regexp.MustCompile(`name="attempt" value="(\d+)"`).FindStringSubmatch(page)
			status, page, at = b.do(http.MethodPost, m[1], url.Values{"username": {b.name}, "password": {b.name}, "attempt": {attempt[1]}}, b.w.server.URL)
		default:
			status, page, at = b.do(http.MethodPost, m[1], url.Values{"username": {b.name}}, b.w.server.URL)
		}
	}
	b.w.t.Fatalf("sign-in came to no end: %s", page)
	return 0, ""
}

// do sends one request and follows redirects and the continue page.
func (b *browser) do(method, path string, form url.Values, origin string) (status int, page, at string) {
	b.w.t.Helper()
	r := must(http.NewRequestWithContext(b.w.t.Context(), method, b.w.server.URL+path, strings.NewReader(form.Encode())))(b.w.t)
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	if origin != "" {
		r.Header.Set("Origin", origin)
	}
	resp := must(b.client.Do(r))(b.w.t)
	defer func() { _ = resp.Body.Close() }()
	body := must(io.ReadAll(resp.Body))(b.w.t)
	if m := refresh.FindStringSubmatch(resp.Header.Get("Refresh")); m != nil {
		return b.do(http.MethodGet, m[1], nil, "")
	}
	return resp.StatusCode, html.UnescapeString(string(body)), resp.Request.URL.Path
}

// decide posts a decision.
func (b *browser) decide(path, decision string, more ...string) (status int, page string) {
	b.w.t.Helper()
	form := url.Values{"decision": {decision}}
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	status, page, _ = b.do(http.MethodPost, path, form, b.w.server.URL)
	return status, page
}

func wants(t *testing.T, what string, status, want int, page string, words ...string) {
	t.Helper()
	if status != want {
		t.Errorf("%s: status %d, not %d: %s", what, status, want, page)
	}
	for _, x := range words {
		if !strings.Contains(page, x) {
			t.Errorf("%s: the page lacks %q: %s", what, x, page)
		}
	}
}

func TestApproveByCode(t *testing.T) {
	w := newWorld(t)
	c := w.code("dc1")
	path := "/t/acme/register/code/" + c.UserCode
	ada := w.browser("ada@acme.example")
	status, page := ada.get(path)
	known := must(w.fleet.CodeByUserCode(t.Context(), w.acme.Scope(), c.UserCode, time.Now()))(t)
	wants(t, "the page", status, 200, page, c.UserCode, "dc1", "linux/amd64", "192.0.2.9", "corp", known.Fingerprint, "deny it", "Signed in as ada@acme.example")

	status, page = ada.decide(path, "approve", "directory", w.directory)
	wants(t, "without comparing", status, 200, page, `role="alert"`, "Compare the fingerprint")
	status, page = ada.decide(path, "approve", "compared", "yes")
	wants(t, "without a directory", status, 200, page, "Choose the directory")
	status, page = ada.decide(path, "approve", "compared", "yes", "directory", db.NewID())
	wants(t, "a directory of nobody", status, 404, page)
	status, page = ada.decide(path, "perhaps")
	wants(t, "no decision", status, 400, page)
	if p := must(w.fleet.PollCode(t.Context(), c.Secret, time.Now()))(t); p.Error != wire.DevicePending {
		t.Fatalf("decided by mistake: %+v", p)
	}
	status, page = ada.decide(path, "approve", "compared", "yes", "directory", w.directory)
	wants(t, "approved", status, 200, page, "dc1 is let in")
	status, page = ada.decide(path, "deny")
	wants(t, "a second decision", status, 409, page)
	p := must(w.fleet.PollCode(t.Context(), c.Secret, time.Now().Add(time.Minute)))(t)
	if p.Error != "" || p.Agent.State != fleet.Active || p.Chain == "" {
		t.Fatalf("%+v", p)
	}
	if v := must(w.fleet.Voucher(t.Context(), w.acme.Scope(), p.Agent.ID))(t); v.By.Name != "ada@acme.example" || v.Fingerprint != known.Fingerprint {
		t.Errorf("%+v", v)
	}

	other := w.code("dc2")
	status, page = ada.decide("/t/acme/register/code/"+strings.ToLower(strings.ReplaceAll(other.UserCode, "-", "")), "deny")
	wants(t, "denied", status, 200, page, "was denied")
	if p := must(w.fleet.PollCode(t.Context(), other.Secret, time.Now()))(t); p.Error != wire.DeviceDenied {
		t.Errorf("%+v", p)
	}
}

func TestOnlyAdministratorsOfTheTenant(t *testing.T) {
	w := newWorld(t)
	c := w.code("dc1")
	path := "/t/acme/register/code/" + c.UserCode
	carl := w.browser("carl@acme.example")
	for _, page := range []string{path, "/t/acme/register", "/t/acme/register/code/BBBB-BBBB"} {
		status, text := carl.get(page)
		wants(t, "carl at "+page, status, 403, text, wire.Forbidden.String())
	}
	status, text := carl.decide(path, "approve", "compared", "yes", "directory", w.directory)
	wants(t, "carl decides", status, 403, text)
	stranger := w.browser("ada@other.example")
	status, text = stranger.get("/t/other/register/code/" + c.UserCode)
	wants(t, "an administrator of another tenant", status, 404, text)
	status, text = stranger.decide("/t/other/register/code/"+c.UserCode, "approve", "compared", "yes", "directory", w.directory)
	wants(t, "who decides", status, 404, text)
	// The session of one tenant is none of the other: the sign-in page comes.
	if _, _, at := stranger.do(http.MethodGet, path, nil, ""); !strings.Contains(at, "/t/acme/signin/") {
		t.Errorf("came to %s", at)
	}
	if _, _, at := w.browser("nobody").do(http.MethodPost, path, url.Values{"decision": {"approve"}}, w.server.URL); !strings.Contains(at, "/signin/") {
		t.Errorf("a post of nobody came to %s", at)
	}
	status, text, _ = stranger.do(http.MethodGet, "/t/nobody/register", nil, "")
	wants(t, "no such tenant", status, 404, text, wire.TenantUnknown.String())
	status, text, _ = stranger.do(http.MethodGet, "/t/acme/register/code/%2e%2e", nil, "")
	wants(t, "an odd path", status, 404, text)
	if p := must(w.fleet.PollCode(t.Context(), c.Secret, time.Now()))(t); p.Error != wire.DevicePending {
		t.Errorf("decided by somebody else: %+v", p)
	}
}

func TestCrossSiteDecision(t *testing.T) {
	w := newWorld(t)
	c := w.code("dc1")
	path := "/t/acme/register/code/" + c.UserCode
	ada := w.browser("ada@acme.example")
	ada.get(path)
	status, page, _ := ada.do(http.MethodPost, path, url.Values{"decision": {"approve"}, "compared": {"yes"}, "directory": {w.directory}}, "https://evil.example")
	wants(t, "from another site", status, 403, page, wire.CrossSite.String())
	if p := must(w.fleet.PollCode(t.Context(), c.Secret, time.Now()))(t); p.Error != wire.DevicePending {
		t.Errorf("%+v", p)
	}
}

func TestOldSignInIsAskedAgain(t *testing.T) {
	w := newWorld(t)
	c := w.code("dc1")
	path := "/t/acme/register/code/" + c.UserCode
	ada := w.browser("ada@acme.example")
	ada.get(path)
	w.mu.Lock()
	w.offset = signedIn + decideIn + time.Minute
	w.mu.Unlock()
	ada.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	status, page := ada.decide(path, "approve", "compared", "yes", "directory", w.directory)
	wants(t, "a post with an old sign-in", status, 303, page)
	status, page, _ = ada.do(http.MethodGet, path, nil, "")
	wants(t, "a look with an old sign-in", status, 303, page)
	if p := must(w.fleet.PollCode(t.Context(), c.Secret, time.Now()))(t); p.Error != wire.DevicePending {
		t.Errorf("%+v", p)
	}
}

func TestGuessesAreLimited(t *testing.T) {
	w := newWorld(t)
	c := w.code("dc1")
	ada, ben := w.browser("ada@acme.example"), w.browser("ben@acme.example")
	ada.get("/t/acme/register")
	for range guessBurst {
		status, page := ada.get("/t/acme/register/code/BBBB-BBBB")
		wants(t, "a guess", status, 404, page)
	}
	for _, path := range []string{"BBBB-BBBB", c.UserCode} { // then also the right one
		status, page := ada.get("/t/acme/register/code/" + path)
		wants(t, "one guess too many", status, 429, page, wire.TooManyRequests.String())
	}
	status, page := ben.get("/t/acme/register/code/" + c.UserCode)
	wants(t, "somebody else", status, 200, page, c.UserCode)
	status, page, _ = ben.do(http.MethodPost, "/t/acme/register", url.Values{"code": {"hello"}}, w.server.URL)
	wants(t, "no code at all", status, 200, page, "That is no code", `aria-invalid="true"`)
	status, page, at := ben.do(http.MethodPost, "/t/acme/register", url.Values{"code": {" " + strings.ToLower(c.UserCode)}}, w.server.URL)
	wants(t, "typed in small letters", status, 200, page, c.UserCode)
	if !strings.HasSuffix(at, c.UserCode) {
		t.Error(at)
	}
}

func TestSecondAdministrator(t *testing.T) {
	w := newWorld(t)
	if err := w.tenants.SetApproval(t.Context(), w.acme.Scope(), tenant.ApprovalSecond, time.Now(), nil); err != nil {
		t.Fatal(err)
	}
	c := w.code("dc1")
	ada, ben := w.browser("ada@acme.example"), w.browser("ben@acme.example")
	path := "/t/acme/register/code/" + c.UserCode
	ada.get(path)
	status, page := ada.decide(path, "approve", "compared", "yes", "directory", w.directory)
	wants(t, "the first", status, 200, page, "dc1 waits for a second administrator")
	waiting := must(w.fleet.Pending(t.Context(), w.acme.Scope()))(t)
	if len(waiting) != 1 {
		t.Fatal(waiting)
	}
	agent := "/t/acme/register/agent/" + waiting[0].ID
	status, page = ada.decide(agent, "approve", "compared", "yes", "fingerprint", "any")
	wants(t, "the first again", status, 403, page, wire.SecondNeeded.String())
	status, page = ben.get("/t/acme/register")
	wants(t, "the list", status, 200, page, agent, "dc1")
	status, page = ben.get(agent)
	wants(t, "the agent's page", status, 200, page, "ada@acme.example", "192.0.2.9", "corp")
	status, page = ben.decide(agent, "approve")
	wants(t, "without comparing", status, 200, page, "Compare the fingerprint")
	status, page = ben.decide(agent, "approve", "compared", "yes")
	wants(t, "a form without fingerprint", status, 400, page)

	// While ben compares, ada has a host of hers take the agent's place.
	compared := must(w.fleet.Voucher(t.Context(), w.acme.Scope(), waiting[0].ID))(t).Fingerprint
	_, secret, err := w.fleet.Release(t.Context(), w.acme.Scope(), waiting[0].ID, fleet.Actor{User: "ada"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := w.fleet.Enrol(t.Context(), secret, w.enrolment("dc1"), time.Now()); err != nil {
		t.Fatal(err)
	}
	status, page = ben.decide(agent, "approve", "compared", "yes", "fingerprint", compared)
	fresh := must(w.fleet.Voucher(t.Context(), w.acme.Scope(), waiting[0].ID))(t).Fingerprint
	wants(t, "other keys", status, 200, page, "registered anew", fresh)
	status, page = ben.decide(agent, "approve", "compared", "yes", "fingerprint", fresh)
	wants(t, "the second", status, 200, page, "dc1 is let in")
	if a := must(w.fleet.ByID(t.Context(), w.acme.Scope(), waiting[0].ID))(t); a.State != fleet.Active {
		t.Error(a.State)
	}
	if _, err := w.fleet.Approve(t.Context(), tenant.Scope{}, waiting[0].ID, "", fleet.Actor{}, time.Now()); !strings.Contains(err.Error(), "scope") {
		t.Error(fault.CodeOf(err))
	}
}
