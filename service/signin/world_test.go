package signin

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sallyport-auth/sallyport/service/audit"
	"github.com/sallyport-auth/sallyport/service/db"
	"github.com/sallyport-auth/sallyport/service/db/dbtest"
	"github.com/sallyport-auth/sallyport/service/fault"
	"github.com/sallyport-auth/sallyport/service/password"
	"github.com/sallyport-auth/sallyport/service/tenant"
	"github.com/sallyport-auth/sallyport/service/user"
	"github.com/sallyport-auth/sallyport/service/web"
	"github.com/sallyport-auth/sallyport/wire"
)

// canary is a password that must appear nowhere but in a check.
const canary = "Canary & pässword=+%41"

// checker knows passwords by name, says what package password would, and counts.
type checker struct {
	mu     sync.Mutex
	rules  map[string]rule // by user.Key
	checks []password.Attempt
	typed  []string
	// gate, when set, holds every check until it can receive.
	gate    chan struct{}
	started chan struct{}
}

// rule is what happens to a name's password.
type rule struct {
	user     user.User
	password string
	answer   password.Answer // for anything but the right password, or when always is set
	always   bool
	err      error
}

func (c *checker) Check(ctx context.Context, scope tenant.Scope, a password.Attempt) (password.Answer, error) {
	typed := string(a.Password.Reveal())
	c.mu.Lock()
	c.checks, c.typed = append(c.checks, a), append(c.typed, typed)
	r, known := c.rules[user.Key(a.Name)]
	gate, started := c.gate, c.started
	c.mu.Unlock()
	a.Password.Wipe()
	if gate != nil {
		started <- struct{}{}
		<-gate
	}
	if err := ctx.Err(); err != nil {
		return password.Answer{}, err
	}
	switch {
	case !known:
		return password.Answer{Code: wire.DomainUnknown, Shown: wire.InvalidPassword, NameForm: "bare"}, nil
	case r.err != nil:
		return r.answer, r.err
	case r.always || typed != r.password:
		if r.answer.Shown == 0 {
			return password.Answer{NameKnown: true, Code: wire.InvalidPassword, Shown: wire.InvalidPassword, Reason: wire.BadPassword, DC: "dc1:636", Agent: "agent-1"}, nil
		}
		return r.answer, nil
	}
	return password.Answer{NameKnown: true, Right: true, User: r.user, Reason: wire.Accepted, Methods: []string{"pwd"}, NameForm: "upn",
		Stops: []audit.Stop{{Name: "done", At: time.Millisecond}}}, nil
}

func (c *checker) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.checks)
}

// clock is a time that tests move.
type clock struct {
	mu sync.Mutex
	t  time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.t
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t = c.t.Add(d)
}

// world is a service with two tenants behind TLS, and a door that begins journeys and takes their results.
type world struct {
	t       testing.TB
	db      *db.DB
	svc     *Service
	checker *checker
	log     *audit.Log
	lines   *lockedBuffer
	server  *httptest.Server
	clock   *clock
	acme    tenant.Tenant
	other   tenant.Tenant
	users   *user.Store
	anna    user.User
	bert    user.User

	mu      sync.Mutex
	ask     Ask
	app     string // where the door sends the browser at the end; empty for a greeting of its own
	results []Result
	errs    []error
	ended   []string
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	ctx := context.Background()
	w := &world{t: t, db: dbtest.New(t), lines: &lockedBuffer{}, clock: &clock{t: time.Now().Truncate(time.Millisecond)},
		ask: Ask{AppID: "app-1", AppName: "Payroll", MaxAge: -1}}
	tenants := tenant.NewStore(w.db)
	w.users = user.NewStore(w.db)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var err error
	w.acme, err = tenants.CreateTenant(ctx, tenant.NewTenant{Name: "acme", DisplayName: "Acme & Söhne <GmbH>", Color: "#0b5d5e"}, w.clock.now())
	must(err)
	w.other, err = tenants.CreateTenant(ctx, tenant.NewTenant{Name: "other", DisplayName: "Other", Color: "#5d0b5e"}, w.clock.now())
	must(err)
	w.anna, err = w.users.Create(ctx, w.acme.Scope(), user.User{UPN: "anna@acme.example", Source: user.CloudOnly, DisplayName: "Anna"}, w.clock.now())
	must(err)
	w.bert, err = w.users.Create(ctx, w.acme.Scope(), user.User{UPN: "bert@acme.example", Source: user.CloudOnly, DisplayName: "Bert"}, w.clock.now())
	must(err)
	wrongFor := func(code wire.Code) rule {
		return rule{always: true, answer: password.Answer{Code: code, Shown: wire.InvalidPassword}}
	}
	w.checker = &checker{rules: map[string]rule{
		"anna@acme.example": {user: w.anna, password: canary},
		"bert@acme.example": {user: w.bert, password: canary},
		"lock@acme.example": wrongFor(wire.AccountLockedOut),
		"gone@acme.example": wrongFor(wire.UserNotFound),
		"off@acme.example":  wrongFor(wire.AccountIsDisabled),
		"old@acme.example":  {always: true, answer: password.Answer{Code: wire.DirectoryPassword, Shown: wire.DirectoryPassword, Reason: wire.PasswordExpired}},
		"dead@acme.example": {err: fault.New(wire.NoAgent, "nobody is there")},
		"odd@acme.example":  {err: fmt.Errorf("something inside")},
	}}
	logger := slog.New(slog.NewJSONHandler(w.lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.log = audit.NewLog(w.db, logger)
	stop := make(chan struct{})
	running, cancel := context.WithCancel(ctx)
	go func() { defer close(stop); _ = w.log.Run(running) }()
	t.Cleanup(func() { cancel(); <-stop })
	w.svc = New(Config{DB: w.db, Tenants: tenants, Users: w.users, Password: w.checker, Audit: w.log, Logger: logger, PostsPerSecond: -1,
		SessionEnded: func(_ context.Context, _ tenant.Scope, id string) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.ended = append(w.ended, id)
			return nil
		}})
	w.svc.now = w.clock.now
	mux := http.NewServeMux()
	mux.Handle("/t/", w.svc.Routes())
	mux.HandleFunc("GET /door/begin/{tenant}", func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		ask := w.ask
		w.mu.Unlock()
		ask.ReturnTo = "/door/resume/" + r.PathValue("tenant") + "/1"
		location, err := w.svc.Begin(rw, r, w.tenant(r), ask)
		if err != nil {
			web.Error(rw, r, err)
			return
		}
		see(rw, location)
	})
	mux.HandleFunc("GET /door/resume/{tenant}/{request}", func(rw http.ResponseWriter, r *http.Request) {
		result, err := w.svc.Finish(r, w.tenant(r), r.URL.Query().Get("journey"))
		w.mu.Lock()
		w.results, w.errs = append(w.results, result), append(w.errs, err)
		w.mu.Unlock()
		if err != nil {
			web.Error(rw, r, err)
			return
		}
		if w.app != "" {
			see(rw, w.app)
			return
		}
		_, _ = fmt.Fprintf(rw, "hello %s, session %s", result.User.UPN, result.Session)
	})
	mux.HandleFunc("GET /door/current/{tenant}", func(rw http.ResponseWriter, r *http.Request) {
		result, ok, err := w.svc.Current(r, w.tenant(r))
		_, _ = fmt.Fprintf(rw, "%v %s %v", ok, result.User.UPN, err)
	})
	mux.HandleFunc("GET /door/end/{tenant}", func(rw http.ResponseWriter, r *http.Request) {
		id, err := w.svc.End(rw, r, w.tenant(r))
		_, _ = fmt.Fprintf(rw, "%s %v", id, err)
	})
	w.server = httptest.NewUnstartedServer(web.Chain(mux, web.Trace, web.Client(nil), web.Recover(logger), web.Secure))
	w.server.Config.ErrorLog = slog.NewLogLogger(logger.Handler(), slog.LevelDebug)
	w.server.StartTLS()
	t.Cleanup(w.server.Close)
	return w
}

func (w *world) tenant(r *http.Request) tenant.Tenant {
	if r.PathValue("tenant") == "other" {
		return w.other
	}
	return w.acme
}

func (w *world) set(change func(*Ask)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change(&w.ask)
}

// records returns the sign-in log of acme, the oldest first.
func (w *world) records() []audit.SignIn {
	w.t.Helper()
	found, err := w.log.List(context.Background(), w.acme.Scope(), audit.Filter{Limit: 100})
	if err != nil {
		w.t.Fatal(err)
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

// browser is a client with cookies that follows redirects, and Refresh headers, like a browser.
type browser struct {
	w    *world
	jar  *cookiejar.Jar
	http *http.Client
	// site is what the browser says of where its posts come from.
	site string
}

func (w *world) browser() *browser {
	jar, _ := cookiejar.New(nil)
	return &browser{w: w, jar: jar, site: "same-origin", http: &http.Client{Jar: jar,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: w.server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}}}}
}

// answer is one page.
type answer struct {
	status int
	header http.Header
	body   string
	url    *url.URL
}

func (b *browser) do(method, path string, form url.Values) answer {
	b.w.t.Helper()
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	r, err := http.NewRequest(method, b.w.server.URL+path, body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	if form != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return b.send(r)
}

func (b *browser) send(r *http.Request) answer {
	b.w.t.Helper()
	if r.Method == http.MethodPost {
		r.Header.Set("Sec-Fetch-Site", b.site)
	}
	resp, err := b.http.Do(r)
	if err != nil {
		b.w.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.w.t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, string(text), resp.Request.URL}
	if to, ok := strings.CutPrefix(a.header.Get("Refresh"), "0;url="); ok {
		return b.do("GET", to, nil)
	}
	return a
}

func (b *browser) get(path string) answer { b.w.t.Helper(); return b.do("GET", path, nil) }

// submit fills the page's form and posts it, hidden fields and all.
func (b *browser) submit(a answer, fields ...string) answer {
	b.w.t.Helper()
	form := a.form()
	for i := 0; i < len(fields); i += 2 {
		form.Set(fields[i], fields[i+1])
	}
	return b.do("POST", a.action(), form)
}

// signIn goes through both pages; the last answer is returned.
func (b *browser) signIn(name, password string) answer {
	b.w.t.Helper()
	a := b.submit(b.get("/door/begin/acme"), "username", name)
	return b.submit(a, "password", password)
}

var (
	actionPattern = regexp.MustCompile(`<form method="post" action="([^"]*)"`)
	inputPattern  = regexp.MustCompile(`<input [^>]*name="([^"]*)"[^>]*>`)
	valuePattern  = regexp.MustCompile(` value="([^"]*)"`)
	tracePattern  = regexp.MustCompile(`id="trace">([0-9a-f]{32})<`)
)

func (a answer) action() string {
	m := actionPattern.FindStringSubmatch(a.body)
	if m == nil {
		return "/no-form-on-this-page"
	}
	return html.UnescapeString(m[1])
}

func (a answer) form() url.Values {
	v := url.Values{}
	for _, in := range inputPattern.FindAllStringSubmatch(a.body, -1) {
		value := ""
		if m := valuePattern.FindStringSubmatch(in[0]); m != nil {
			value = html.UnescapeString(m[1])
		}
		v.Set(in[1], value)
	}
	return v
}

func (a answer) trace() string {
	if m := tracePattern.FindStringSubmatch(a.body); m != nil {
		return m[1]
	}
	return ""
}

// shows reports whether the page has an element with this id.
func (a answer) shows(id string) bool { return strings.Contains(a.body, `id="`+id+`"`) }

// code is the number on the page, "" for none.
func (a answer) code() string {
	_, rest, ok := strings.Cut(a.body, `id="error-code">`)
	if !ok {
		return ""
	}
	code, _, _ := strings.Cut(rest, "<")
	return code
}

// expect fails the test unless the page is what it should be: "name", "password", a greeting's name, or an error's number.
func (a answer) expect(t testing.TB, what string) answer {
	t.Helper()
	is := ""
	switch {
	case strings.HasPrefix(a.body, "hello "):
		is, _, _ = strings.Cut(strings.TrimPrefix(a.body, "hello "), ",")
	case a.shows("password"):
		is = "password"
	case a.shows("username"):
		is = "name"
	}
	if code := a.code(); code != "" {
		is = strings.TrimSpace(is + " " + code)
	}
	if is != what {
		t.Fatalf("%s (%d) shows %q, want %q:\n%s", a.url.Path, a.status, is, what, a.main())
	}
	return a
}

// main is what a page says, without its style.
func (a answer) main() string { return a.body[max(0, strings.Index(a.body, "<main>")):] }
