package oidc

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/app"
	"github.com/sallyport-auth/sallyport/service/atrest"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/keyring"
	"github.com/sallyport-auth/sallyport/service/signin"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/wire"
)

// knowing is a sign-in that knows who sits at the browser, without asking. It is one browser.
type knowing struct {
	mu       sync.Mutex
	who      user.User     // guarded by mu, like all below
	zoe      user.User     // who sits there for any tenant but that of who
	home     string        // id of the tenant of who
	session  string        // "" when nobody is signed in
	at       time.Time     // of the session
	stale    time.Duration // how much older a finished journey's sign-in claims to be
	refuse   error         // what Begin and Finish return
	asks     []signin.Ask
	journeys map[string]string // journey → path it returns to
	now      func() time.Time
}

func (k *knowing) Begin(_ http.ResponseWriter, _ *http.Request, _ tenant.Tenant, ask signin.Ask) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asks = append(k.asks, ask)
	journey := rand.Text()
	k.journeys[journey] = ask.ReturnTo
	return ask.ReturnTo + "?journey=" + journey, nil
}

func (k *knowing) Finish(r *http.Request, t tenant.Tenant, journey string) (signin.Result, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.journeys[journey] != r.URL.Path {
		return signin.Result{}, fault.New(wire.JourneyUnknown, "")
	}
	delete(k.journeys, journey)
	if k.refuse != nil {
		return signin.Result{}, k.refuse
	}
	if t.ID != k.home {
		return signin.Result{User: k.zoe, Session: "zoe", At: k.now(), Methods: []string{"pwd"}}, nil
	}
	if k.session == "" || k.stale > 0 {
		k.session, k.at = db.NewID(), k.now().Add(-k.stale)
	}
	return signin.Result{User: k.who, Session: k.session, At: k.at, Methods: []string{"pwd"}}, nil
}

func (k *knowing) Current(*http.Request, tenant.Tenant) (signin.Result, bool, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return signin.Result{User: k.who, Session: k.session, At: k.at, Methods: []string{"pwd"}}, k.session != "", nil
}

func (k *knowing) End(http.ResponseWriter, *http.Request, tenant.Tenant) (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	ended := k.session
	k.session = ""
	return ended, nil
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	at time.Time // guarded by mu
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// world is a provider on real parts behind real TLS, with two tenants.
type world struct {
	t       testing.TB
	server  *httptest.Server
	p       *Provider
	db      *db.DB
	apps    *app.Store
	users   *user.Store
	keys    *keyring.Ring
	clock   *clock
	signin  *knowing
	acme    tenant.Tenant
	other   tenant.Tenant
	ann     user.User
	bob     user.User
	web     client // confidential
	spa     client // public
	secret2 client // a second confidential app of the same tenant
	foreign client // an app of the other tenant
	caller  *http.Client
}

// client is an application as the tests play it.
type client struct {
	id, secret, redirect string
	tenant               string
}

const (
	webRedirect = "https://app.example/cb?x=1"
	spaRedirect = "http://127.0.0.1:9999/cb"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newWorld(t testing.TB) *world {
	ctx := context.Background()
	w := &world{t: t, clock: &clock{at: time.Now().Truncate(time.Second)}}
	w.signin = &knowing{journeys: map[string]string{}, now: w.clock.now}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.p.Routes().ServeHTTP(rw, r)
	}))
	w.server.StartTLS()
	t.Cleanup(w.server.Close)

	w.db = dbtest.New(t)
	tenants := tenant.NewStore(w.db)
	w.apps, w.users = app.NewStore(w.db), user.NewStore(w.db)
	box := must(atrest.OpenOrCreate(filepath.Join(t.TempDir(), "key")))
	w.keys = keyring.New(w.db, box, nil)
	now := w.clock.now()
	w.acme = must(tenants.CreateTenant(ctx, tenant.NewTenant{Name: "acme", DisplayName: "Acme", Color: "#003366"}, now))
	w.other = must(tenants.CreateTenant(ctx, tenant.NewTenant{Name: "other", DisplayName: "Other", Color: "#003366"}, now))
	for _, n := range []tenant.Tenant{w.acme, w.other} {
		must(tenants.CreateDomain(ctx, n.Scope(), tenant.Domain{Name: n.Name + ".example", Kind: tenant.Cloud}, now))
	}
	w.ann = must(w.users.Create(ctx, w.acme.Scope(), user.User{UPN: "ann@acme.example", Source: user.CloudOnly, DisplayName: "Ann Lee",
		GivenName: "Ann", FamilyName: "Lee", Email: "ann.lee@acme.example", Groups: []string{"sales", "staff"}}, now))
	w.bob = must(w.users.Create(ctx, w.acme.Scope(), user.User{UPN: "bob@acme.example", Source: user.CloudOnly, DisplayName: "Bob"}, now))
	w.signin.who, w.signin.home = w.ann, w.acme.ID
	w.signin.zoe = must(w.users.Create(ctx, w.other.Scope(), user.User{UPN: "ann@acme.example", Source: user.CloudOnly}, now))
	w.web = w.register(w.acme, app.New{Name: "Web", RedirectURIs: []string{webRedirect, "https://app.example/other"},
		PostLogoutURIs: []string{"https://app.example/bye"}, GroupClaims: true})
	w.secret2 = w.register(w.acme, app.New{Name: "Second", RedirectURIs: []string{webRedirect}, PostLogoutURIs: []string{"https://second.example/bye"}})
	w.spa = w.register(w.acme, app.New{Name: "Spa", RedirectURIs: []string{spaRedirect}, Public: true, Algorithm: "RS256"})
	w.foreign = w.register(w.other, app.New{Name: "Web", RedirectURIs: []string{webRedirect}})

	w.p = New(Config{DB: w.db, PublicURL: w.server.URL, Signin: w.signin, Tenants: tenants, Users: w.users, Apps: w.apps, Keys: w.keys})
	w.p.now = w.clock.now
	w.caller = w.server.Client()
	w.caller.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return w
}

func (w *world) register(t tenant.Tenant, n app.New) client {
	a, secret, err := w.apps.Create(context.Background(), t.Scope(), n, w.clock.now())
	if err != nil {
		w.t.Fatal(err)
	}
	return client{id: a.ID, secret: secret, redirect: n.RedirectURIs[0], tenant: t.Name}
}

// address returns an endpoint's address.
func (w *world) address(tenantName, path string) string {
	return w.server.URL + "/t/" + tenantName + path
}

const verifier = "0123456789012345678901234567890123456789-._~"

func challengeOf(v string) string {
	sum := sha256.Sum256([]byte(v))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// request returns the parameters of a good authorization request.
func (w *world) request(c client) url.Values {
	return url.Values{"client_id": {c.id}, "redirect_uri": {c.redirect}, "response_type": {"code"}, "scope": {"openid"}, "state": {"s 1"},
		"nonce": {"n1"}, "code_challenge": {challengeOf(verifier)}, "code_challenge_method": {"S256"}}
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   string
	// location is the parsed Location, query its parameters; nil without a redirect.
	location *url.URL
	query    url.Values
	json     map[string]any
}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	response, err := w.caller.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	a := answer{status: response.StatusCode, header: response.Header, body: string(body)}
	if location := response.Header.Get("Location"); location != "" {
		a.location = must(url.Parse(location))
		a.query = a.location.Query()
	}
	if strings.HasPrefix(response.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(body, &a.json); err != nil {
			w.t.Fatalf("the answer is not JSON: %v\n%s", err, body)
		}
	}
	return a
}

func (w *world) get(address string, header ...string) answer {
	w.t.Helper()
	r := must(http.NewRequest("GET", address, nil))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return w.do(r)
}

func (w *world) post(address string, form string, header ...string) answer {
	w.t.Helper()
	r := must(http.NewRequest("POST", address, strings.NewReader(form)))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.do(r)
}

// authorize sends a request and follows our own redirects, until the browser is sent elsewhere or stays.
func (w *world) authorize(tenantName string, q url.Values) answer {
	w.t.Helper()
	a := w.get(w.address(tenantName, "/oauth2/authorize?"+q.Encode()))
	for a.location != nil && a.location.Host == "" {
		a = w.get(w.server.URL + a.location.String())
	}
	return a
}

// code returns a fresh code for a request, which it changes first by pairs of name and value.
func (w *world) code(c client, change ...string) string {
	w.t.Helper()
	q := w.request(c)
	for i := 0; i+1 < len(change); i += 2 {
		q.Set(change[i], change[i+1])
	}
	a := w.authorize(c.tenant, q)
	if a.query.Get("code") == "" {
		w.t.Fatalf("no code: %d %v\n%s", a.status, a.location, a.body)
	}
	return a.query.Get("code")
}

// exchangeForm returns the parameters of a good exchange, secret in the body.
func (w *world) exchangeForm(c client, code string) url.Values {
	f := url.Values{"grant_type": {"authorization_code"}, "code": {code}, "redirect_uri": {c.redirect}, "code_verifier": {verifier}, "client_id": {c.id}}
	if c.secret != "" {
		f.Set("client_secret", c.secret)
	}
	return f
}

func (w *world) exchange(c client, code string) answer {
	w.t.Helper()
	return w.post(w.address(c.tenant, "/oauth2/token"), w.exchangeForm(c, code).Encode())
}

// tokens signs in and exchanges.
func (w *world) tokens(c client, change ...string) map[string]any {
	w.t.Helper()
	a := w.exchange(c, w.code(c, change...))
	if a.status != 200 {
		w.t.Fatalf("no tokens: %d %s", a.status, a.body)
	}
	return a.json
}

func (w *world) refresh(c client, token string, more ...string) answer {
	w.t.Helper()
	f := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}, "client_id": {c.id}}
	if c.secret != "" {
		f.Set("client_secret", c.secret)
	}
	for i := 0; i+1 < len(more); i += 2 {
		f.Set(more[i], more[i+1])
	}
	return w.post(w.address(c.tenant, "/oauth2/token"), f.Encode())
}

func (w *world) userInfo(tenantName string, token any) answer {
	w.t.Helper()
	return w.get(w.address(tenantName, "/oauth2/userinfo"), "Authorization", "Bearer "+token.(string))
}

// wants checks a JSON error.
func (w *world) wants(a answer, status int, name string) {
	w.t.Helper()
	if a.status != status || a.json["error"] != name {
		w.t.Errorf("got %d %s, want %d %s", a.status, a.body, status, name)
	}
}

// payload returns the claims of a compact token, unverified.
func payload(token any) map[string]any {
	parts := strings.Split(token.(string), ".")
	var claims map[string]any
	if err := json.Unmarshal(must(base64.RawURLEncoding.DecodeString(parts[1])), &claims); err != nil {
		panic(err)
	}
	return claims
}

// with returns a copy with changes, given as pairs of name and value; an empty value removes.
func with(q url.Values, change ...string) url.Values {
	q = maps.Clone(q)
	for i := 0; i+1 < len(change); i += 2 {
		if change[i+1] == "" {
			q.Del(change[i])
			continue
		}
		q.Set(change[i], change[i+1])
	}
	return q
}
